//! HTTP: statements as text or JSON, results as JSON, CSV, Arrow or Parquet, and the state of the
//! cluster.
//!
//! | | |
//! |---|---|
//! | `POST /v1/sql` | run a statement, stream its result |
//! | `POST /v1/queries` | take a query that runs by itself |
//! | `GET /v1/queries` | the queries of all schedulers |
//! | `GET /v1/queries/{id}` | how far one has come |
//! | `GET /v1/queries/{id}/results` | its result, whole or by page |
//! | `DELETE /v1/queries/{id}` | cancel |
//! | `GET /health` | 200 for as long as the process lives |
//! | `GET /v1/ready` | 200 if queries should be sent here, else 503 with the reasons |
//! | `GET /v1/status` | the cluster |
//!
//! Headers of a statement: `Accept` chooses the format, `x-paceline-settings: name=value; …` sets what
//! the session has, and `Idempotency-Key` makes a repeated request the same query. Headers of an
//! answer: `x-paceline-query-id`, and `x-paceline-rows-affected` where a statement changed some.
//!
//! Whatever goes wrong is answered as `{"error": {"class", "message", "query_id"}}`. A result that
//! breaks off after its first byte ends in a broken response, never in one that looks complete.

mod body;
mod encode;
mod failure;
mod format;
mod health;
mod listing;
mod measure;
mod parquet_file;
mod queries;
mod report;
mod request;
mod results;
mod sql;
mod statement;
mod submit;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use paceline_model::ByteSize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use report::{ErrorReport, QueryReport};

use crate::metrics::{FrontendMetrics, Protocol};
use crate::server::{self, Limits};
use crate::service::QueryService;

/// How HTTP is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// The largest body that a client may send.
    pub max_request: ByteSize,
    /// How many connections may be open at a time. Further ones wait to be accepted.
    pub max_connections: usize,
    /// How long requests under way may go on once the server is told to end.
    pub grace: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            max_request: ByteSize::mib(4),
            max_connections: 4096,
            grace: Duration::from_secs(10),
        }
    }
}

/// Serves HTTP until `shutdown`; returns once the last response has ended or the grace is over.
pub async fn serve_http(
    listener: TcpListener,
    service: Arc<dyn QueryService>,
    options: HttpOptions,
    metrics: FrontendMetrics,
    shutdown: CancellationToken,
) {
    let limits = Limits {
        max_connections: options.max_connections,
        silence: server::SILENCE,
        grace: options.grace,
    };
    let door = Door {
        service,
        max_request: options.max_request.as_usize(),
        metrics: metrics.clone(),
    };
    server::serve(
        listener,
        router(door),
        Protocol::Http,
        limits,
        metrics,
        shutdown,
    )
    .await;
}

/// What every handler has at hand.
#[derive(Clone)]
struct Door {
    service: Arc<dyn QueryService>,
    max_request: usize,
    metrics: FrontendMetrics,
}

fn router(door: Door) -> Router {
    Router::new()
        .route("/v1/sql", post(sql::run))
        .route("/v1/queries", get(listing::list).post(submit::submit))
        .route(
            "/v1/queries/{id}",
            get(queries::one).delete(queries::cancel),
        )
        .route("/v1/queries/{id}/results", get(results::read))
        .route("/health", get(health::health))
        .route("/v1/ready", get(health::ready))
        .route("/v1/status", get(health::status))
        .fallback(failure::no_such_path)
        .method_not_allowed_fallback(failure::wrong_method)
        .layer(middleware::from_fn_with_state(
            door.clone(),
            measure::measure,
        ))
        .with_state(door)
}
