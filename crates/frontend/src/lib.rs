//! The doors of a scheduler: Flight SQL and HTTP, over one trait that the scheduler implements.
//!
//! ```text
//!   ADBC, pyarrow ──► Flight SQL :50051 ─┐                        ┌─ submit, describe, results
//!                                        ├─► trait QueryService ──┼─ enqueue, stored result, list
//!   curl, browsers ─► HTTP       :8090  ─┘    (the scheduler)     └─ status, cancel, cluster
//! ```
//!
//! This crate owns the protocols: how a statement arrives, how a result leaves, what an error looks
//! like from outside ([`to_status`] and its HTTP sibling, in one file), and what a client holds of
//! its query, the [`Ticket`]. It plans nothing, runs nothing and remembers nothing: tickets,
//! prepared statements and sessions carry all that is known of them, so that any scheduler can
//! answer for any client.
//!
//! Invariants:
//! - A result that breaks off never looks complete: a gRPC stream ends in a status, an HTTP body in
//!   an aborted connection.
//! - Whatever a client sends, the answer is an error that says what is wrong with it, and no panic.
//! - Dropping a connection drops the [`ResultStream`]s that were read through it.
//!
//! Entry points: [`serve_flight`], [`serve_http`], [`QueryService`].

mod cluster;
mod counted;
mod flight;
mod http;
mod listing;
mod metrics;
mod parameters;
mod pieces;
mod server;
mod service;
mod session;
mod status;
mod stored;
mod submission;
mod ticket;
mod views;

pub use cluster::{ClusterStatus, ExecutorStatus, Readiness, SchedulerStatus};
pub use flight::{FlightOptions, serve_flight};
pub use http::{ErrorReport, HttpOptions, QueryReport, serve_http};
pub use listing::{Place, QueryFilter, QueryPage};
pub use metrics::FrontendMetrics;
pub use service::{Description, Origin, QueryService, ResultStream, Statement, Submitted};
pub use session::SessionSettings;
pub use status::{from_status, to_status};
pub use stored::StoredResult;
pub use submission::Submission;
pub use ticket::{Afresh, Ticket};
