//! Between what a scheduler knows of a query and what its journal says.

mod read;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use paceline_core::StageOutputs;
use paceline_model::{Attempt, Epoch, PartitionRange, QueryId, QueryState, StageId};
use paceline_proto::state::record::Record as Kind;
use paceline_proto::state::{self, Known, Record, Statement};
use paceline_proto::{graph_to_wire, query_bytes};

use crate::record::QueryRecord;
use crate::requested::Requested;
use crate::writing;

pub(crate) use read::{Legacy, legacy};

fn record(kind: Kind) -> Record {
    Record { record: Some(kind) }
}

/// What a query is, as an adopter needs it. None for what the scheduler answers itself.
pub(crate) fn statement(of: &QueryRecord) -> Option<Statement> {
    let plan = of.plan.as_ref()?;
    let requested = of.requested.as_ref();
    Some(Statement {
        sql: of.sql.clone(),
        session: plan.settings.0.clone().into_iter().collect(),
        catalog_version: of.catalog.0,
        graph: Some(graph_to_wire(&plan.graph)),
        submitted: of.submitted,
        idempotency_key: of.idempotency_key.clone().unwrap_or_default(),
        // None is written as 0.
        timeout_millis: of.limit.map_or(0, |limit| millis(limit).max(1)),
        result_schema: paceline_plan::schema_to_ipc(&of.schema).into(),
        analyze: plan.analyze,
        accepted_unix_millis: of.accepted_unix_millis,
        kept: of.kept.is_some(),
        result_ttl_millis: of.kept.map_or(0, millis),
        write: of.write.as_ref().map(writing::to_wire),
        request: requested.map_or_else(String::new, Requested::to_string),
        planning_micros: u64::try_from(of.planning.as_micros()).unwrap_or(u64::MAX),
    })
}

/// The journal's scheduler drives a new query.
pub(crate) fn accepted(query: QueryId, statement: Statement) -> Record {
    record(Kind::Accepted(state::Accepted {
        query: query_bytes(query),
        statement: Some(statement),
    }))
}

/// The journal's scheduler means to drive a query that somebody else drove.
pub(crate) fn adopted(query: QueryId, epoch: Epoch, known: Known) -> Record {
    record(Kind::Adopted(state::Adopted {
        query: query_bytes(query),
        epoch: epoch.0,
        known: Some(known),
    }))
}

/// A stage was divided into tasks.
pub(crate) fn stage_formed(
    query: QueryId,
    stage: StageId,
    tasks: &[PartitionRange],
    floor: Attempt,
) -> Record {
    let tasks = tasks.iter().map(|range| state::PartitionRange {
        first: range.first,
        count: range.count,
    });
    record(Kind::StageFormed(state::StageFormed {
        query: query_bytes(query),
        stage: stage.0,
        tasks: tasks.collect(),
        first_attempt: floor.0,
    }))
}

/// All tasks of a stage left their outputs.
pub(crate) fn stage_finished(query: QueryId, stage: StageId, outputs: &StageOutputs) -> Record {
    let each = outputs.locations.iter().zip(&outputs.summaries);
    let outputs = each.map(|(location, summary)| state::TaskOutput {
        attempt: location.attempt.0,
        executor: location.executor.to_string(),
        address: location.address.clone(),
        rows: summary.rows,
        bytes: summary.bytes,
        partition_bytes: summary.partition_bytes.clone(),
        disk_bytes: summary.disk_bytes,
    });
    record(Kind::StageFinished(state::StageFinished {
        query: query_bytes(query),
        stage: stage.0,
        outputs: outputs.collect(),
    }))
}

/// A query is over.
pub(crate) fn over(of: &QueryRecord) -> Record {
    let error = of.error.as_ref();
    record(Kind::Finished(state::Finished {
        query: query_bytes(of.query),
        epoch: of.epoch.0,
        state: if of.state.is_final() {
            of.state.as_str().to_string()
        } else {
            QueryState::Cancelled.as_str().to_string()
        },
        error_class: error.map_or(String::new(), |e| e.class.as_str().to_string()),
        error_message: error.map_or(String::new(), |e| e.message.clone()),
    }))
}

/// This moment, for people and deadlines.
#[expect(
    clippy::disallowed_methods,
    reason = "only shown to people, and used for deadlines that an adopter cannot know otherwise"
)]
pub(crate) fn unix_millis() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}

/// In whole milliseconds, as it is written down and passed on.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
