//! Between what a scheduler knows of a query and what its journal says.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::datatypes::{Schema, SchemaRef};
use paceline_core::{KnownOutput, KnownStage, KnownTask, StageOutputs};
use paceline_model::{
    Attempt, Epoch, ExecutorId, OutputSummary, PartitionRange, QueryId, QueryState, StageId,
};
use paceline_plan::{QueryPlan, SessionSettings, WriteInto};
use paceline_proto::state::record::Record as Kind;
use paceline_proto::state::{self, Known, Record, Statement};
use paceline_proto::{Malformed, graph_from_wire, graph_to_wire, query_bytes};

use crate::record::QueryRecord;
use crate::requested::Requested;
use crate::writing;

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
        timeout_millis: of.limit.map_or(0, millis),
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use paceline_core::{Action, AttemptState, Core, Event, Now, Options};
    use paceline_model::{
        ExchangeKind, OutputId, SchedulerId, Stage, StageGraph, StageInput, TaskId,
    };
    use prost::Message;

    use super::*;

    /// A stage that `x` runs as tasks of one partition each.
    fn stage(id: u32, partitions: u32, exchange: ExchangeKind, inputs: Vec<StageInput>) -> Stage {
        Stage {
            id: StageId(id),
            plan: Arc::from(&b""[..]),
            partitions,
            divisible: true,
            exchange,
            inputs,
            deterministic: true,
            scan_bytes: u64::MAX,
            text: Arc::from(""),
        }
    }

    /// What a journal is told of a stage of so many tasks.
    fn recorded(tasks: u32, exchange: ExchangeKind) -> state::StageFinished {
        let query = QueryId::from_slice(&[7; 16]).unwrap();
        let (executor, epoch) = (ExecutorId::new("x"), Epoch(0));
        let scan = stage(0, tasks, exchange, vec![]);
        let whole = StageInput {
            stage: StageId(0),
            whole: true,
        };
        let readers = stage(1, 1, ExchangeKind::Forward, vec![whole]);
        let partitions = match exchange {
            ExchangeKind::Hash { partitions } => partitions,
            ExchangeKind::Forward => 1,
        };
        let summary = OutputSummary {
            rows: 1 << 20,
            bytes: 1 << 30,
            partition_bytes: vec![1 << 20; partitions as usize],
            disk_bytes: 1 << 30,
        };
        let mut events = vec![
            Event::ExecutorAttached {
                executor: executor.clone(),
                address: "executor.example:50052".to_string(),
                zone: String::new(),
                slots: tasks,
                draining: false,
                held: vec![],
            },
            Event::Submit {
                query,
                graph: Arc::new(StageGraph::new(vec![scan, readers]).unwrap()),
                epoch,
                deadline: None,
                promised: false,
            },
        ];
        events.extend((0..tasks).map(|task| Event::TaskReport {
            executor: executor.clone(),
            id: OutputId {
                query,
                stage: StageId(0),
                task: TaskId(task),
                attempt: Attempt(0),
            },
            epoch,
            state: AttemptState::Finished {
                summary: summary.clone(),
                inline: false,
            },
        }));
        let mut core = Core::new(Options::default());
        let mut actions = events
            .into_iter()
            .flat_map(|event| core.handle(event, Now::default()));
        let finished = actions.find_map(|action| match action {
            Action::StageFinished {
                query,
                stage,
                outputs,
            } => Some(stage_finished(query, stage, &outputs)),
            _ => None,
        });
        match finished.and_then(|finished| finished.record) {
            Some(Kind::StageFinished(finished)) => finished,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_finished_stage_is_written_in_a_few_bytes_for_each_output() {
        let length = |partitions| {
            let finished = recorded(500, ExchangeKind::Hash { partitions });
            assert_eq!(finished.outputs.len(), 500);
            finished.encoded_len()
        };
        assert_eq!(
            length(2000),
            length(1),
            "it grows with outputs × partitions"
        );
        assert!(length(2000) < 500 * 100, "{}", length(2000));
    }

    /// What the next owner of a query says of it, by what a journal has of its statement.
    fn adopted_by(bytes: &[u8]) -> QueryRecord {
        let known = Known {
            statement: Some(Statement::decode(bytes).unwrap()),
            ..Known::default()
        };
        let (query, me) = (
            QueryId::from_slice(&[7; 16]).unwrap(),
            SchedulerId::new("s"),
        );
        QueryRecord::adopted(query, Epoch(1), me, legacy(known), Instant::now())
    }

    #[test]
    fn an_adopter_learns_how_long_planning_took() {
        let stage = stage(0, 1, ExchangeKind::Forward, vec![]);
        let schema: SchemaRef = Arc::new(Schema::empty());
        let plan = QueryPlan {
            graph: Arc::new(StageGraph::new(vec![stage]).unwrap()),
            schema: Arc::clone(&schema),
            settings: SessionSettings::default(),
            analyze: false,
        };
        let (query, accepted) = (QueryId::from_slice(&[7; 16]).unwrap(), Instant::now());
        let took = Duration::from_micros(4_321);
        let (sql, planned) = ("SELECT 1".to_string(), accepted + took);
        let record = QueryRecord::new(query, sql, schema, Some(plan), accepted, planned);
        let mut written = statement(&record).unwrap();
        assert_eq!(adopted_by(&written.encode_to_vec()).planning, took);
        // As former versions wrote it.
        written.planning_micros = 0;
        let before = written.encode_to_vec();
        assert_eq!(adopted_by(&before).planning, Duration::ZERO);
    }

    #[test]
    fn an_adopter_learns_how_outputs_are_divided_that_tasks_read_by_partition() {
        let tasks = (0..3).map(|first| state::PartitionRange { first, count: 1 });
        let finished = recorded(3, ExchangeKind::Forward);
        let formed = state::StageFormed {
            query: finished.query.clone(),
            stage: 0,
            tasks: tasks.collect(),
            first_attempt: 1 << 16,
        };
        let known = Known {
            statement: None,
            formed: vec![formed],
            finished: vec![finished],
        };
        let stages = legacy(known).stages;
        assert_eq!(stages[0].floor, Attempt(1 << 16));
        let outputs = stages[0].tasks.iter().map(|task| task.output.as_ref());
        for output in outputs {
            let summary = &output.unwrap().summary;
            assert_eq!(
                (summary.rows, &summary.partition_bytes[..]),
                (1 << 20, &[1 << 20][..])
            );
        }
    }
}
