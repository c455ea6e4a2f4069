//! The words of Paceline, as types.
//!
//! A **query** is planned into a **stage graph**. A stage runs as **tasks**, each of which takes a
//! range of the stage's partitions; every try at a task is an **attempt**. What a stage leaves for
//! the next one is an **exchange**: one output per attempt, divided into partitions. The scheduler
//! that drives a query is its **owner**; the **epoch** counts how many owners it has had.
//!
//! ```text
//!   query ── stage graph ── stage ── task ── attempt ── output ── partition
//! ```
//!
//! This crate owns names and shapes and nothing else: no I/O, no async, no clock. Everything else
//! in the workspace may depend on it; it depends on none of them.
//!
//! Entry types: [`QueryId`] and its sibling ids, [`StageGraph`], [`OutputLocation`],
//! [`QueryError`] with its [`ErrorClass`], [`QueryStatus`], [`ByteSize`].

mod error;
mod graph;
mod ids;
mod invariant;
mod output;
mod size;
mod status;

pub use error::{ErrorClass, LostOutput, QueryError};
pub use graph::{ExchangeKind, InvalidGraph, Stage, StageGraph, StageInput};
pub use ids::{
    Attempt, CatalogVersion, Epoch, ExecutorId, Incarnation, InvalidId, OutputId, QueryId,
    SchedulerId, StageId, TableId, TaskId, TaskKey,
};
pub use invariant::Invariant;
pub use output::{MOST_PARTITIONS, OutputLocation, OutputSummary, PartitionRange};
pub use size::{ByteSize, InvalidByteSize};
pub use status::{QueryState, QueryStatus, ResultSize, StageProgress};
