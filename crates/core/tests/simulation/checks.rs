//! What the core's actions must satisfy, judged from outside, by what was said and done before.

use std::collections::{BTreeMap, BTreeSet};

use paceline_core::{Action, AttemptRef, AttemptState, Event};
use paceline_model::{
    ExchangeKind, ExecutorId, OutputLocation, QueryId, Stage, StageGraph, StageId,
};

type TaskOf = (QueryId, StageId, paceline_model::TaskId);

/// Attempts that may be going on as far as the scheduler can know, and all that ever were.
#[derive(Default)]
pub(crate) struct Ledger {
    live: BTreeMap<TaskOf, (ExecutorId, AttemptRef)>,
    launched: BTreeSet<(QueryId, AttemptRef)>,
}

fn task_of(query: QueryId, id: AttemptRef) -> TaskOf {
    (query, id.stage, id.task)
}

impl Ledger {
    /// Takes note of what the core is about to be told.
    pub(crate) fn told(&mut self, event: &Event) {
        match event {
            Event::TaskReport {
                executor,
                id,
                state,
                ..
            } if !matches!(state, AttemptState::Running { .. }) => {
                let attempt = AttemptRef {
                    stage: id.stage,
                    task: id.task,
                    attempt: id.attempt,
                };
                self.ended(executor, id.query, attempt);
            }
            Event::ExecutorLost { executor, .. } => {
                self.live.retain(|_, (holder, _)| holder != executor);
            }
            Event::ExecutorAttached { executor, held, .. } => {
                let running: BTreeSet<_> = held
                    .iter()
                    .flat_map(|held| held.running.iter().map(|&id| (held.query, id)))
                    .collect();
                self.live.retain(|task, (holder, id)| {
                    holder != executor || running.contains(&(task.0, *id))
                });
            }
            _ => {}
        }
    }

    /// A scheduler that knows nothing took over; what goes on, it hears from the executors.
    pub(crate) fn taken_over(&mut self) {
        self.live.clear();
    }

    fn ended(&mut self, executor: &ExecutorId, query: QueryId, id: AttemptRef) {
        let key = task_of(query, id);
        if self.live.get(&key) == Some(&(executor.clone(), id)) {
            self.live.remove(&key);
        }
    }

    /// Checks one action and takes note of it.
    pub(crate) fn done(
        &mut self,
        action: &Action,
        graphs: &BTreeMap<QueryId, std::sync::Arc<StageGraph>>,
    ) {
        match action {
            Action::CancelAttempts {
                executor,
                query,
                attempts,
                ..
            } => {
                for &id in attempts {
                    self.ended(executor, *query, id);
                }
            }
            Action::EndQuery { query, .. } => self.live.retain(|task, _| task.0 != *query),
            Action::Launch {
                executor,
                query,
                stage,
                tasks,
                inputs,
                ..
            } => {
                assert!(!tasks.is_empty(), "a launch of nothing");
                check_inputs(&graphs[query], *stage, inputs);
                for task in tasks {
                    let id = AttemptRef {
                        stage: *stage,
                        task: task.task,
                        attempt: task.attempt,
                    };
                    assert!(task.slots > 0);
                    let new = self.launched.insert((*query, id));
                    assert!(new, "attempt {id:?} was launched before");
                    let mate = self
                        .live
                        .insert(task_of(*query, id), (executor.clone(), id));
                    assert_eq!(mate, None, "two attempts at once with {id:?}");
                }
            }
            _ => {}
        }
    }
}

/// No launch with incomplete inputs: every exchange that the stage reads, every partition of it.
fn check_inputs(
    graph: &StageGraph,
    stage: StageId,
    inputs: &[(StageId, std::sync::Arc<[OutputLocation]>)],
) {
    let spec = graph.stage(stage).unwrap();
    let named: Vec<_> = inputs.iter().map(|(stage, _)| *stage).collect();
    let read: Vec<_> = spec.inputs.iter().map(|input| input.stage).collect();
    assert_eq!(named, read, "stage {stage} is launched without its inputs");
    for (producer, locations) in inputs {
        check_complete(graph.stage(*producer).unwrap(), locations);
    }
}

/// Whether these are the outputs of all tasks of a stage.
pub(crate) fn check_complete(stage: &Stage, locations: &[OutputLocation]) {
    let mut next = 0;
    for (nth, location) in locations.iter().enumerate() {
        assert_eq!(location.task.0 as usize, nth, "a task's output is missing");
        match stage.exchange {
            ExchangeKind::Hash { partitions } => {
                assert_eq!(
                    (location.partitions.first, location.partitions.count),
                    (0, partitions)
                );
                next = stage.partitions;
            }
            ExchangeKind::Forward => {
                assert_eq!(location.partitions.first, next, "partitions are missing");
                next = location.partitions.end();
            }
        }
    }
    assert_eq!(next, stage.partitions, "partitions are missing");
}
