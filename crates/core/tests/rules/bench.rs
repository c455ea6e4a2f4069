//! A core with a handful of executors, driven one event at a time.

use std::sync::Arc;

use paceline_core::{
    Action, AttemptRef, AttemptState, Core, Event, HeldQuery, Now, Options, Outcome, TaskLaunch,
};
use paceline_model::{
    Attempt, Epoch, ErrorClass, ExecutorId, LostOutput, OutputId, OutputSummary, QueryError,
    QueryId, StageGraph, StageId, TaskId,
};

use crate::support::{executor, millis, query, summary};

/// The query that most tests run.
pub(crate) const Q: u128 = 1;

pub(crate) struct Bench {
    pub(crate) core: Core,
    pub(crate) now: Now,
}

/// One launched task, told apart from its launch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Started {
    pub(crate) executor: ExecutorId,
    pub(crate) query: QueryId,
    pub(crate) stage: StageId,
    pub(crate) launch: TaskLaunch,
}

impl Started {
    pub(crate) fn id(&self) -> OutputId {
        OutputId {
            query: self.query,
            stage: self.stage,
            task: self.launch.task,
            attempt: self.launch.attempt,
        }
    }

    pub(crate) fn attempt(&self) -> AttemptRef {
        AttemptRef {
            stage: self.stage,
            task: self.launch.task,
            attempt: self.launch.attempt,
        }
    }

    pub(crate) fn lost(&self, unreachable: bool) -> LostOutput {
        LostOutput {
            stage: self.stage,
            task: self.launch.task,
            attempt: self.launch.attempt,
            executor: self.executor.clone(),
            unreachable,
        }
    }
}

impl Bench {
    pub(crate) fn new(options: Options) -> Self {
        Bench {
            core: Core::new(options),
            now: Now::default(),
        }
    }

    /// So many executors of 4 slots, named a, b, c, …
    pub(crate) fn with_executors(count: u8) -> Self {
        let mut bench = Bench::new(Options::default());
        for nth in 0..count {
            bench.attach(&char::from(b'a' + nth).to_string(), 4, Vec::new());
        }
        bench
    }

    pub(crate) fn tell(&mut self, event: Event) -> Vec<Action> {
        let actions = self.core.handle(event, self.now);
        let violations = self.core.violations();
        assert!(violations.is_empty(), "{violations:#?}");
        actions
    }

    pub(crate) fn at(&mut self, at: u64) -> Vec<Action> {
        self.now = millis(at);
        self.tell(Event::Tick)
    }

    pub(crate) fn attach(&mut self, name: &str, slots: u32, held: Vec<HeldQuery>) -> Vec<Action> {
        self.tell(Event::ExecutorAttached {
            executor: executor(name),
            address: format!("{name}:50052"),
            zone: String::new(),
            slots,
            draining: false,
            held,
        })
    }

    pub(crate) fn lose(&mut self, name: &str) -> Vec<Action> {
        self.tell(Event::ExecutorLost {
            executor: executor(name),
            reason: "connection closed".to_string(),
        })
    }

    pub(crate) fn submit(&mut self, number: u128, graph: Arc<StageGraph>) -> Vec<Action> {
        self.tell(Event::Submit {
            query: query(number),
            graph,
            epoch: Epoch(0),
            deadline: None,
            promised: false,
        })
    }

    pub(crate) fn cancel(&mut self, number: u128) -> Vec<Action> {
        self.tell(Event::Cancel {
            query: query(number),
        })
    }

    pub(crate) fn release(&mut self, number: u128) -> Vec<Action> {
        self.tell(Event::Released {
            query: query(number),
        })
    }

    pub(crate) fn report(&mut self, of: &Started, state: AttemptState) -> Vec<Action> {
        self.tell(Event::TaskReport {
            executor: of.executor.clone(),
            id: of.id(),
            epoch: Epoch(0),
            state,
        })
    }

    /// The attempt leaves one byte in each partition of its range.
    pub(crate) fn finish(&mut self, of: &Started) -> Vec<Action> {
        let bytes = vec![1; of.launch.partitions.count as usize];
        self.finish_with(of, summary(10, &bytes))
    }

    pub(crate) fn finish_with(&mut self, of: &Started, summary: OutputSummary) -> Vec<Action> {
        self.report(
            of,
            AttemptState::Finished {
                summary,
                inline: false,
            },
        )
    }

    /// All of these finish; what the last one led to.
    pub(crate) fn finish_all(&mut self, of: &[Started]) -> Vec<Action> {
        let mut actions = Vec::new();
        for started in of {
            actions = self.finish(started);
        }
        actions
    }

    pub(crate) fn fail(&mut self, of: &Started, class: ErrorClass) -> Vec<Action> {
        let error = QueryError::new(class, "disk on fire");
        self.report(of, AttemptState::Failed(error))
    }

    pub(crate) fn fail_to_read(&mut self, reader: &Started, lost: LostOutput) -> Vec<Action> {
        let error = QueryError::output_lost(lost, "gone");
        self.report(reader, AttemptState::Failed(error))
    }

    /// Tasks of a stage that are done.
    pub(crate) fn done(&self, stage: u32) -> u32 {
        let (_, stages) = self.core.status(query(Q)).unwrap();
        stages[stage as usize].done
    }

    pub(crate) fn running(&self, stage: u32) -> u32 {
        let (_, stages) = self.core.status(query(Q)).unwrap();
        stages[stage as usize].running
    }
}

pub(crate) fn started(actions: &[Action]) -> Vec<Started> {
    let mut all = Vec::new();
    for action in actions {
        if let Action::Launch {
            executor,
            query,
            stage,
            tasks,
            ..
        } = action
        {
            all.extend(tasks.iter().map(|&launch| Started {
                executor: executor.clone(),
                query: *query,
                stage: *stage,
                launch,
            }));
        }
    }
    all.sort_by_key(|started| (started.query, started.stage, started.launch.task));
    all
}

/// The executors of what was launched, in order of tasks.
pub(crate) fn places(actions: &[Action]) -> Vec<String> {
    started(actions)
        .iter()
        .map(|started| started.executor.to_string())
        .collect()
}

pub(crate) fn outcome(actions: &[Action]) -> Option<&Outcome> {
    let mut outcomes = actions.iter().filter_map(|action| match action {
        Action::Settled { outcome, .. } => Some(outcome),
        _ => None,
    });
    let outcome = outcomes.next();
    assert_eq!(outcomes.next(), None, "settled twice");
    outcome
}

pub(crate) fn failure(actions: &[Action]) -> &QueryError {
    match outcome(actions) {
        Some(Outcome::Failed(error)) => error,
        other => panic!("not failed: {other:?}"),
    }
}

pub(crate) fn is_finished(actions: &[Action]) -> bool {
    matches!(outcome(actions), Some(Outcome::Finished { .. }))
}

pub(crate) fn cancelled(actions: &[Action]) -> Vec<(String, AttemptRef)> {
    let attempts = actions.iter().filter_map(|action| match action {
        Action::CancelAttempts {
            executor, attempts, ..
        } => Some((executor, attempts)),
        _ => None,
    });
    flatten(attempts)
}

pub(crate) fn released(actions: &[Action]) -> Vec<(String, AttemptRef)> {
    let outputs = actions.iter().filter_map(|action| match action {
        Action::ReleaseOutputs {
            executor, outputs, ..
        } => Some((executor, outputs)),
        _ => None,
    });
    flatten(outputs)
}

fn flatten<'a>(
    batches: impl Iterator<Item = (&'a ExecutorId, &'a Vec<AttemptRef>)>,
) -> Vec<(String, AttemptRef)> {
    batches
        .flat_map(|(executor, ids)| ids.iter().map(|id| (executor.to_string(), *id)))
        .collect()
}

/// Executors that are told that a query is over.
pub(crate) fn ended(actions: &[Action]) -> Vec<String> {
    let executors = actions.iter().filter_map(|action| match action {
        Action::EndQuery { executor, .. } => Some(executor.to_string()),
        _ => None,
    });
    executors.collect()
}

pub(crate) fn wake(actions: &[Action]) -> Option<Now> {
    actions.iter().find_map(|action| match action {
        Action::WakeAt(at) => Some(*at),
        _ => None,
    })
}

pub(crate) fn attempt(stage: u32, task: u32, attempt: u32) -> AttemptRef {
    AttemptRef {
        stage: StageId(stage),
        task: TaskId(task),
        attempt: Attempt(attempt),
    }
}

/// What an executor has of the query most tests run.
pub(crate) fn held(finished: &[AttemptRef], running: &[AttemptRef]) -> HeldQuery {
    HeldQuery {
        query: query(Q),
        epoch: Epoch(0),
        finished: finished.iter().map(|&id| (id, summary(10, &[1]))).collect(),
        inline: Vec::new(),
        running: running.to_vec(),
        ours: false,
    }
}

/// The same of one that is asked by a new owner, and brings these outputs along.
pub(crate) fn brought(inline: &[AttemptRef]) -> HeldQuery {
    HeldQuery {
        inline: inline.iter().map(|&id| (id, summary(10, &[1]))).collect(),
        ..held(&[], &[])
    }
}
