//! A query's status as HTTP tells it.

use std::time::{Duration, SystemTime};

use paceline_model::{
    Epoch, QueryId, QueryState, QueryStatus, ResultSize, SchedulerId, StageProgress,
};
use serde::{Deserialize, Serialize};

/// A query's status, as HTTP tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryReport {
    /// The query.
    pub query_id: QueryId,
    /// Where it is in its life.
    pub state: QueryState,
    /// The scheduler that drives it.
    pub owner: SchedulerId,
    /// How many owners it has had before.
    pub epoch: Epoch,
    /// The statement.
    pub sql: String,
    /// Whether it was submitted to run by itself, with a result that is kept.
    #[serde(default)]
    pub submitted: bool,
    /// When it was accepted, as `2026-07-01T12:00:00.000Z`.
    #[serde(default)]
    pub accepted_at: Option<String>,
    /// From acceptance to the end, or until now.
    pub elapsed_seconds: f64,
    /// How much of that went by in planning.
    pub planning_seconds: f64,
    /// Every stage, in order.
    pub stages: Vec<StageProgress>,
    /// Why it failed, if it did.
    pub error: Option<ErrorReport>,
    /// How much its kept result is, once it is complete.
    #[serde(default)]
    pub result: Option<ResultSize>,
}

/// Why a query failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// The class, as one word.
    pub class: String,
    /// What is wrong.
    pub message: String,
}

impl From<QueryStatus> for QueryReport {
    fn from(status: QueryStatus) -> Self {
        QueryReport {
            query_id: status.query,
            state: status.state,
            owner: status.owner,
            epoch: status.epoch,
            sql: status.sql,
            submitted: status.submitted,
            accepted_at: status.accepted_at_unix_ms.and_then(timestamp),
            elapsed_seconds: status.elapsed.as_secs_f64(),
            planning_seconds: status.planning.as_secs_f64(),
            stages: status.stages,
            error: status.error.map(|error| ErrorReport {
                class: error.class.as_str().to_string(),
                message: error.message,
            }),
            result: status.result,
        }
    }
}

/// A moment as people write it; none beyond the year 9999, which cannot be written.
fn timestamp(unix_ms: u64) -> Option<String> {
    const YEAR_10000: u64 = 253_402_300_800_000;
    let moment = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms))?;
    (unix_ms < YEAR_10000).then(|| humantime::format_rfc3339_millis(moment).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_far_as_they_can_be() {
        let written = timestamp(1_780_000_000_123);
        assert_eq!(written.as_deref(), Some("2026-05-28T20:26:40.123Z"));
        let last = timestamp(253_402_300_799_999);
        assert_eq!(last.as_deref(), Some("9999-12-31T23:59:59.999Z"));
        assert_eq!(timestamp(253_402_300_800_000), None);
        assert_eq!(timestamp(u64::MAX), None);
    }
}
