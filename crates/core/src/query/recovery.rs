//! What is done about outputs and attempts that are gone.
//!
//! Losing an output sends its task back. If that breaks a stage whose inputs were released already,
//! those are wanted again, and so on down to the scans. If a task that leaves other rows each time
//! has to run again, everything that read its former output is sent back as well, up to the result:
//! all readers of a task read the same attempt.

use paceline_model::{ErrorClass, ExecutorId, LostOutput, PartitionRange, QueryError, StageId};

use super::Query;
use super::stages::{inputs_of, readers_of};
use super::task::{TaskAt, TaskState};
use crate::shared::Shared;

impl Query {
    /// A stage is complete: nobody reads its inputs any more.
    pub(super) fn close_inputs(&mut self, id: StageId, shared: &mut Shared) {
        let graph = std::sync::Arc::clone(&self.graph);
        let mut complete = vec![id];
        while let Some(reader) = complete.pop() {
            for input in inputs_of(&graph, reader) {
                if !std::mem::replace(&mut self.stages[input.stage].wanted, false) {
                    continue;
                }
                for task in self.stages[input.stage].task_ids() {
                    let at = TaskAt {
                        stage: input.stage,
                        task,
                    };
                    let old = self.put(at, TaskState::Idle, shared);
                    self.discard(at, &old, shared);
                }
                self.refresh(input.stage);
                complete.push(input.stage);
            }
        }
    }

    /// A stage that was complete is not any more: what it reads is needed again.
    fn reopen_inputs(&mut self, id: StageId, shared: &mut Shared) {
        let graph = std::sync::Arc::clone(&self.graph);
        let mut incomplete = vec![id];
        while let Some(reader) = incomplete.pop() {
            for input in inputs_of(&graph, reader) {
                if std::mem::replace(&mut self.stages[input.stage].wanted, true) {
                    continue;
                }
                let tasks: Vec<_> = self.stages[input.stage].task_ids().collect();
                self.count_reruns(tasks.len(), shared);
                for task in tasks {
                    let at = TaskAt {
                        stage: input.stage,
                        task,
                    };
                    self.put(at, TaskState::Ready, shared);
                }
                self.refresh(input.stage);
                if !self.is_deterministic(input.stage) {
                    self.distrust_readers(input.stage, None, shared);
                }
                incomplete.push(input.stage);
            }
        }
    }

    /// A task's output is gone though somebody needs it.
    pub(super) fn lose_output(
        &mut self,
        at: TaskAt,
        avoid: Option<&ExecutorId>,
        shared: &mut Shared,
    ) {
        shared.counters.outputs_lost += 1;
        let was_available = self.stages[at.stage].is_available();
        if self.stages[at.stage].consumer.is_none() && !self.is_deterministic(at.stage) {
            self.restart = true;
        }
        self.send_back(at, shared);
        let Some(task) = self.stages[at.stage].task_mut(at.task) else {
            return;
        };
        task.avoid = avoid.cloned();
        let range = task.partitions;
        if was_available {
            self.reopen_inputs(at.stage, shared);
        }
        if !self.is_deterministic(at.stage) {
            self.distrust_readers(at.stage, Some(vec![range]), shared);
        }
    }

    /// Sends a task back to be run again, through no fault of its own.
    pub(super) fn send_back(&mut self, at: TaskAt, shared: &mut Shared) {
        self.count_reruns(1, shared);
        self.put(at, TaskState::Ready, shared);
    }

    /// Sends back everything, up to the result, that read what `from` left. `produced` narrows that
    /// down to the outputs of tasks with these partitions.
    fn distrust_readers(
        &mut self,
        from: StageId,
        mut produced: Option<Vec<PartitionRange>>,
        shared: &mut Shared,
    ) {
        let graph = std::sync::Arc::clone(&self.graph);
        let mut producer = from;
        while let Some(reader) = self.stages[producer].consumer {
            let input = inputs_of(&graph, reader)
                .iter()
                .find(|input| input.stage == producer);
            let (Some(&input), Some(spec)) = (input, graph.stage(producer)) else {
                return;
            };
            let stage = &self.stages[reader];
            let readers = readers_of(stage, input, spec.exchange, produced.as_deref());
            let mut distrusted = Vec::new();
            for task in readers {
                let at = TaskAt {
                    stage: reader,
                    task,
                };
                distrusted.extend(self.distrust(at, shared));
            }
            produced = Some(distrusted);
            producer = reader;
        }
    }

    /// Sends one task back because its input is to come out otherwise. Returns its partitions.
    pub(super) fn distrust(&mut self, at: TaskAt, shared: &mut Shared) -> Option<PartitionRange> {
        let root = self.stages[at.stage].consumer.is_none();
        let task = self.stages[at.stage].task_mut(at.task)?;
        task.floor = task.next;
        let partitions = task.partitions;
        if matches!(task.state, TaskState::Running(_) | TaskState::Finished(_)) {
            self.restart |= root;
            self.count_reruns(1, shared);
            let old = self.put(at, TaskState::Ready, shared);
            self.discard(at, &old, shared);
        }
        Some(partitions)
    }

    /// A reader could not read these outputs.
    pub(super) fn outputs_lost(&mut self, lost: &[LostOutput], shared: &mut Shared) {
        for output in lost {
            let at = TaskAt {
                stage: output.stage,
                task: output.task,
            };
            if self.holds_output(at, &output.executor)
                && self.state_is_current(at, &output.executor, output.attempt)
            {
                let avoid = output.unreachable.then_some(&output.executor);
                self.lose_output(at, avoid, shared);
            }
            if output.unreachable {
                self.suspect(&output.executor, shared);
            }
        }
    }

    /// An executor could not be reached by a reader: none of its outputs can be counted on.
    fn suspect(&mut self, executor: &ExecutorId, shared: &mut Shared) {
        for at in self.held_by(executor) {
            if self.holds_output(at, executor) {
                self.lose_output(at, Some(executor), shared);
            }
        }
    }

    /// The reader of the result could not read these outputs.
    pub(crate) fn result_lost(&mut self, lost: &[LostOutput], shared: &mut Shared) {
        let root = self.graph.root().id;
        let was_available = self.stages[root].is_available();
        if !was_available {
            // It is being made again already, and the reader will be told.
            return;
        }
        self.outputs_lost(lost, shared);
        self.check_reruns(shared);
        if self.stages[root].is_available() {
            // The reader followed locations that are out of date.
            self.complete(root, shared);
        }
    }

    /// An executor is gone, with all it ran and held.
    pub(crate) fn executor_lost(
        &mut self,
        executor: &ExecutorId,
        reason: &str,
        shared: &mut Shared,
    ) {
        for at in self.held_by(executor) {
            // Whatever was done about the ones before may have changed this one.
            if self.holds_output(at, executor) {
                self.lose_output(at, None, shared);
            } else if self.runs_on(at, executor) {
                shared.counters.attempts_lost += 1;
                let error = QueryError::new(
                    ErrorClass::Retryable,
                    format!("the executor was lost ({reason})"),
                );
                if !self.another_attempt(at, executor, &error, shared) {
                    return;
                }
                self.send_back(at, shared);
            }
        }
        self.check_reruns(shared);
    }

    /// Everything that counts at present and lies or runs on the executor.
    pub(super) fn held_by(&self, executor: &ExecutorId) -> Vec<TaskAt> {
        let tasks = self.stages.iter().flat_map(|stage| {
            let ids = stage.task_ids().zip(&stage.tasks);
            ids.map(move |(task, record)| (stage.id, task, record))
        });
        tasks
            .filter(|(_, _, record)| record.state.is_held_by(executor))
            .map(|(stage, task, _)| TaskAt { stage, task })
            .collect()
    }

    pub(super) fn holds_output(&self, at: TaskAt, executor: &ExecutorId) -> bool {
        let state = self.task_state(at);
        state.is_some_and(|state| {
            matches!(state, TaskState::Finished(_)) && state.is_held_by(executor)
        })
    }

    pub(super) fn runs_on(&self, at: TaskAt, executor: &ExecutorId) -> bool {
        let state = self.task_state(at);
        state.is_some_and(|state| {
            matches!(state, TaskState::Running(_)) && state.is_held_by(executor)
        })
    }

    fn state_is_current(
        &self,
        at: TaskAt,
        executor: &ExecutorId,
        attempt: paceline_model::Attempt,
    ) -> bool {
        self.task_state(at)
            .is_some_and(|state| state.is_current(executor, attempt))
    }

    fn task_state(&self, at: TaskAt) -> Option<&TaskState> {
        let task = self.stages.get(at.stage)?.task(at.task)?;
        Some(&task.state)
    }

    fn is_deterministic(&self, stage: StageId) -> bool {
        self.graph.stage(stage).is_none_or(|s| s.deterministic)
    }

    fn count_reruns(&mut self, tasks: usize, shared: &mut Shared) {
        shared.counters.reruns += tasks as u64;
        let tasks = u32::try_from(tasks).unwrap_or(u32::MAX);
        self.reruns = self.reruns.saturating_add(tasks);
    }

    /// Outputs that get lost again and again must not keep a query busy for ever.
    pub(super) fn check_reruns(&mut self, shared: &mut Shared) {
        let limit = shared.options.rerun_limit(self.tasks);
        if self.reruns <= limit {
            return;
        }
        let message = format!(
            "{} re-runs of its {} tasks did not help: executors, their disks or the network \
             between them lose outputs faster than they are made",
            self.reruns, self.tasks
        );
        self.fail(QueryError::new(ErrorClass::Unavailable, message), shared);
    }
}
