//! From SQL to stages, and from a stage's bytes back to something that runs.
//!
//! ```text
//!   scheduler                                          executor
//!   SQL ─ Planner ─ physical plan ─ cut ─ stage graph   bytes ─ StagePlan ─ restrict ─ execute
//!                     (DataFusion)    at exchanges              (one task's partitions)
//! ```
//!
//! Everything before the cut leaves a plan that would be valid in one process. The cut replaces
//! each place where rows change partitions by a pair: an [`ExchangeWriteExec`] that ends the stage
//! below, and an [`ExchangeReadExec`] that begins the one above. Where the rows of an exchange lie
//! is no part of a plan: an executor hands that to the reading operator through an
//! [`ExchangeSource`] beside it. So the plan of a stage is encoded once, whatever runs it.
//!
//! This crate knows DataFusion and nothing of networks, schedulers or the state store.
//!
//! Entry types: [`Engine`] (functions, memory, object stores; one per process), [`Planner`] and
//! [`Planned`] for schedulers, [`StagePlan`] and [`HashPartitions`] for executors, [`classify`] for
//! errors of either.

mod arrow_schema;
mod arrow_streams;
mod catalog;
mod codec;
mod cut;
mod depth;
mod determinism;
mod encodable;
mod encoder;
mod engine;
mod error;
mod exchange_inputs;
mod exchange_read;
mod exchange_wire;
mod exchange_write;
mod explain;
mod external;
mod file_scans;
mod folder;
mod hash_partitions;
mod joins;
mod limited;
mod logical;
mod managed;
mod metrics;
mod named_format;
mod named_source;
mod new_table;
mod object_stores;
mod own_tables;
mod panics;
mod parameters;
mod pausing;
mod planner;
mod portions;
mod recursion;
mod restrict;
mod rules;
mod scan;
mod scan_order;
mod session;
mod shape;
mod spare;
mod stage_converter;
mod stage_plan;
mod statement;
mod subqueries;
mod tried;
mod unusable;
mod window_limits;
mod windows;
mod write_files;
mod write_names;
mod write_outside;
mod write_wire;
mod writing;

pub use catalog::{
    Catalog, Definitions, TableDefinition, ViewDefinition, schema_from_ipc, schema_to_ipc,
};
pub use depth::STACK_BYTES;
pub use engine::{Engine, EngineOptions};
pub use error::{classify, into_datafusion};
pub use exchange_read::{ExchangeReadExec, ExchangeSource, Which};
pub use exchange_write::{ExchangeWriteExec, Sink};
pub use explain::{analyzed_rows, explain_schema};
pub use folder::Folder;
pub use hash_partitions::HashPartitions;
pub use managed::{ManagedDefinition, ManagedFile};
pub use metrics::{MetricUnit, OperatorMetric, operator_metrics};
pub use object_stores::ObjectStores;
pub use planner::{Planned, Planner, PlannerOptions, QueryPlan};
pub use session::SessionSettings;
pub use stage_plan::{ExchangeNeed, StagePlan};
pub use statement::Change;
pub use write_files::manifest_schema;
pub use writing::{WriteInto, count_schema};
