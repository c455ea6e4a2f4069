use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{Schema, SchemaRef};
use paceline_core::{Action, AttemptState, Core, Event, Now, Options};
use paceline_model::{
    ExchangeKind, ExecutorId, OutputId, OutputSummary, SchedulerId, Stage, StageGraph, StageInput,
    TaskId,
};
use paceline_plan::{QueryPlan, SessionSettings};
use prost::Message;

use super::*;
use crate::testing::planned;

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
fn a_limit_is_none_to_an_adopter_only_if_there_was_none() {
    for (given, read) in [
        (None, None),
        (Some(Duration::from_secs(3)), Some(Duration::from_secs(3))),
        (
            Some(Duration::from_micros(1)),
            Some(Duration::from_millis(1)),
        ),
    ] {
        let written = statement(&planned(1).limited(given)).unwrap();
        assert_eq!(adopted_by(&written.encode_to_vec()).limit, read);
    }
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
