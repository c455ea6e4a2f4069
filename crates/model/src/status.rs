//! What anyone may ask about a query while it runs and afterwards.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Epoch, QueryError, QueryId, SchedulerId, StageId};

/// Where a query is in its life. The last three are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryState {
    /// Accepted, and waiting for its turn.
    Queued,
    /// Stages are running.
    Running,
    /// The result is complete.
    Finished,
    /// It failed; the error says why.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl QueryState {
    /// Whether nothing will change any more.
    pub fn is_final(self) -> bool {
        !matches!(self, QueryState::Queued | QueryState::Running)
    }

    /// The state as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            QueryState::Queued => "queued",
            QueryState::Running => "running",
            QueryState::Finished => "finished",
            QueryState::Failed => "failed",
            QueryState::Cancelled => "cancelled",
        }
    }
}

/// How far one stage has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageProgress {
    /// The stage.
    pub stage: StageId,
    /// How many tasks it has; 0 until its first task could be formed.
    pub tasks: u32,
    /// How many of them are running.
    pub running: u32,
    /// How many of them are done.
    pub done: u32,
    /// Attempts that were started, the repeated ones included.
    pub attempts: u32,
    /// Rows that its finished tasks left.
    pub rows: u64,
    /// Bytes that its finished tasks left.
    pub bytes: u64,
}

/// All that is known of a query from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryStatus {
    /// The query.
    pub query: QueryId,
    /// The scheduler that drives it.
    pub owner: SchedulerId,
    /// How many owners it has had before.
    pub epoch: Epoch,
    /// Where it is in its life.
    pub state: QueryState,
    /// The statement.
    pub sql: String,
    /// Every stage, in order.
    pub stages: Vec<StageProgress>,
    /// Why it failed, if it did.
    pub error: Option<QueryError>,
    /// From acceptance to the end, or until now; of the owner's own clock.
    pub elapsed: Duration,
    /// How much of that went by in planning.
    pub planning: Duration,
}
