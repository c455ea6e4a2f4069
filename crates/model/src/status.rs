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
    /// Every state, in the order of a life.
    pub const ALL: [QueryState; 5] = [
        QueryState::Queued,
        QueryState::Running,
        QueryState::Finished,
        QueryState::Failed,
        QueryState::Cancelled,
    ];

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

    /// The state that [`as_str`](Self::as_str) writes as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
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

/// How much a complete result is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultSize {
    /// Rows.
    pub rows: u64,
    /// The pages they are stored in.
    pub pages: u64,
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
    /// Whether it was submitted to run by itself, with a durable result; else somebody waits for it.
    #[serde(default)]
    pub submitted: bool,
    /// When it was accepted, in milliseconds since 1970 by the clock of who accepted it. For people:
    /// nothing is decided by it.
    #[serde(default)]
    pub accepted_at_unix_ms: Option<u64>,
    /// How much its durable result is, once it has one.
    #[serde(default)]
    pub result: Option<ResultSize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_back_as_written() {
        for state in QueryState::ALL {
            assert_eq!(QueryState::parse(state.as_str()), Some(state));
            let json = format!("\"{}\"", state.as_str());
            assert_eq!(serde_json::to_string(&state).unwrap(), json);
        }
        assert_eq!(QueryState::parse("nonsense"), None);
    }

    #[test]
    fn a_status_of_before_is_still_read() {
        let json = r#"{"query": "01890000-0000-7000-8000-000000000000", "owner": "s1", "epoch": 0,
            "state": "running", "sql": "SELECT 1", "stages": [], "error": null,
            "elapsed": {"secs": 1, "nanos": 0}, "planning": {"secs": 0, "nanos": 0}}"#;
        let status: QueryStatus = serde_json::from_str(json).unwrap();
        assert!(!status.submitted && status.result.is_none());
        let again: QueryStatus =
            serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
        assert_eq!(again, status);
    }
}
