//! What a journal says of a query, as its next owner reads it.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use paceline_core::{KnownOutput, KnownStage, KnownTask};
use paceline_model::{Attempt, ExecutorId, OutputSummary, PartitionRange, StageId};
use paceline_plan::{QueryPlan, SessionSettings, WriteInto};
use paceline_proto::state::{self, Known, Statement};
use paceline_proto::{Malformed, graph_from_wire};

use super::unix_millis;
use crate::requested::Requested;
use crate::writing;

/// A query as its former owner's journal leaves it.
#[derive(Debug, Clone)]
pub(crate) struct Legacy {
    pub(crate) sql: String,
    pub(crate) schema: SchemaRef,
    /// How it is run, or why nobody can tell.
    pub(crate) plan: Result<QueryPlan, Malformed>,
    pub(crate) catalog: u64,
    pub(crate) submitted: bool,
    pub(crate) kept: Option<Duration>,
    pub(crate) write: Option<WriteInto>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) requested: Option<Requested>,
    pub(crate) limit: Option<Duration>,
    pub(crate) accepted_unix_millis: u64,
    pub(crate) planning: Duration,
    pub(crate) stages: Vec<KnownStage>,
}

/// Reads what a journal knows of a query, and as much as there is of one that this version cannot carry
/// on: that one has an owner as well, who gives it its outcome.
pub(crate) fn legacy(known: Known) -> Legacy {
    let stages = stages(&known);
    let mut wrong = None;
    let statement = known.statement.unwrap_or_else(|| {
        wrong = Some(Malformed::missing("statement"));
        unheard_of()
    });
    let schema = paceline_plan::schema_from_ipc(&statement.result_schema);
    let schema = schema.unwrap_or_else(|e| {
        wrong.get_or_insert(Malformed {
            field: "result_schema",
            problem: e.to_string(),
        });
        Arc::new(Schema::empty())
    });
    let write = statement.write.map(|write| {
        writing::from_wire(write.clone()).unwrap_or_else(|malformed| {
            wrong.get_or_insert(malformed);
            writing::place_of(write)
        })
    });
    let graph = statement.graph.ok_or_else(|| Malformed::missing("graph"));
    let graph = match wrong {
        Some(malformed) => Err(malformed),
        None => graph.and_then(graph_from_wire),
    };
    let settings = SessionSettings(statement.session.into_iter().collect());
    Legacy {
        sql: statement.sql,
        plan: graph.map(|graph| QueryPlan {
            graph: Arc::new(graph),
            schema: Arc::clone(&schema),
            settings,
            analyze: statement.analyze,
        }),
        schema,
        catalog: statement.catalog_version,
        submitted: statement.submitted,
        kept: statement
            .kept
            .then(|| Duration::from_millis(statement.result_ttl_millis)),
        write,
        idempotency_key: Some(statement.idempotency_key).filter(|key| !key.is_empty()),
        requested: match statement.request.as_str() {
            "" => None,
            request => Some(Requested::read(request)),
        },
        limit: match statement.timeout_millis {
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        },
        accepted_unix_millis: statement.accepted_unix_millis,
        planning: Duration::from_micros(statement.planning_micros),
        stages,
    }
}

/// What stands for a statement that a journal does not have. It may have written, so the log of the
/// catalog is asked before it is said to have failed, and its outcome is durable.
fn unheard_of() -> Statement {
    Statement {
        accepted_unix_millis: unix_millis(),
        write: Some(state::Write { into: None }),
        ..Statement::default()
    }
}

fn stages(known: &Known) -> Vec<KnownStage> {
    let formed = known.formed.iter().map(|formed| {
        let finished = known.finished.iter().find(|f| f.stage == formed.stage);
        let outputs = finished.map_or(&[][..], |f| &f.outputs);
        // Outputs of another division than this one are of no use.
        let fits = outputs.len() == formed.tasks.len();
        let tasks = formed
            .tasks
            .iter()
            .enumerate()
            .map(|(nth, range)| KnownTask {
                partitions: PartitionRange::new(range.first, range.count),
                output: outputs.get(nth).filter(|_| fits).map(known_output),
            });
        KnownStage {
            stage: StageId(formed.stage),
            tasks: tasks.collect(),
            floor: Attempt(formed.first_attempt),
        }
    });
    formed.collect()
}

fn known_output(output: &state::TaskOutput) -> KnownOutput {
    KnownOutput {
        attempt: Attempt(output.attempt),
        executor: ExecutorId::new(output.executor.as_str()),
        summary: OutputSummary {
            rows: output.rows,
            bytes: output.bytes,
            partition_bytes: output.partition_bytes.clone(),
            disk_bytes: output.disk_bytes,
        },
    }
}
