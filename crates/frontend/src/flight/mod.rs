//! Flight SQL: Arrow Flight's protocol for statements, over gRPC.
//!
//! ```text
//!   GetFlightInfo ── submit ──► FlightInfo { schema, ticket, locations }     the query runs
//!   DoGet(ticket) ── results ─► batches as they come                         from any scheduler
//!   DoAction(CreatePreparedStatement) ── describe ──► handle { sql, session, parameters }
//! ```
//!
//! Nothing is remembered between calls: tickets, prepared statement handles and session cookies
//! carry all there is to know, so that each call may reach another scheduler.

mod action;
mod catalog;
mod command;
mod info;
mod options;
mod prepared;
mod put;
mod rpc;
mod session;
mod sql_info;
mod stream;
mod types;

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use arrow_flight::sql::metadata::{SqlInfoData, XdbcTypeInfoData};
use paceline_model::{ByteSize, ErrorClass, QueryError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::metrics::{FrontendMetrics, Protocol};
use crate::server::{self, Limits};
use crate::service::QueryService;

/// How Flight SQL is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlightOptions {
    /// The largest message that a client may send.
    pub max_request: ByteSize,
    /// About how large a message of a result is.
    pub batch: ByteSize,
    /// How many connections may be open at a time. Further ones wait to be accepted.
    pub max_connections: usize,
    /// How long requests under way may go on once the server is told to end.
    pub grace: Duration,
}

impl Default for FlightOptions {
    fn default() -> Self {
        FlightOptions {
            max_request: ByteSize::mib(64),
            batch: ByteSize::mib(2),
            max_connections: 4096,
            grace: Duration::from_secs(10),
        }
    }
}

/// Serves Flight SQL until `shutdown`; returns once the last stream has ended or the grace is over.
///
/// # Errors
/// A bug, if the tables of this server's abilities cannot be built.
pub async fn serve_flight(
    listener: TcpListener,
    service: Arc<dyn QueryService>,
    options: FlightOptions,
    metrics: FrontendMetrics,
    shutdown: CancellationToken,
) -> Result<(), QueryError> {
    let limits = Limits {
        max_connections: options.max_connections,
        silence: server::SILENCE,
        grace: options.grace,
    };
    let max_request = options.max_request.as_usize();
    let door = FlightSql::new(service, options, metrics.clone())?;
    let rpc = FlightServiceServer::new(door)
        .max_decoding_message_size(max_request)
        .max_encoding_message_size(usize::MAX);
    let router = Routes::new(rpc).prepare().into_axum_router();
    server::serve(
        listener,
        router,
        Protocol::Flight,
        limits,
        metrics,
        shutdown,
    )
    .await;
    Ok(())
}

/// The door: the service behind it, and what never changes.
struct FlightSql {
    service: Arc<dyn QueryService>,
    options: FlightOptions,
    metrics: FrontendMetrics,
    abilities: SqlInfoData,
    types: XdbcTypeInfoData,
}

impl FlightSql {
    fn new(
        service: Arc<dyn QueryService>,
        options: FlightOptions,
        metrics: FrontendMetrics,
    ) -> Result<Self, QueryError> {
        Ok(FlightSql {
            service,
            options,
            metrics,
            abilities: sql_info::abilities().map_err(bug)?,
            types: types::types().map_err(bug)?,
        })
    }
}

/// What should not fail, and did.
fn bug(error: impl std::fmt::Display) -> QueryError {
    QueryError::new(ErrorClass::Bug, error.to_string())
}

fn user(message: impl Into<String>) -> QueryError {
    QueryError::new(ErrorClass::User, message)
}

fn unsupported(message: impl Into<String>) -> QueryError {
    QueryError::new(ErrorClass::Unsupported, message)
}
