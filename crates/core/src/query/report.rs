//! What executors report of attempts, and what becomes of a task that failed.

use std::sync::Arc;

use paceline_model::{ErrorClass, ExecutorId, OutputId, QueryError};

use super::Query;
use super::task::{Output, TaskAt, TaskState};
use crate::event::{AttemptRef, AttemptState};
use crate::shared::Shared;
use crate::timers::Alarm;

impl Query {
    /// Takes note of a report. Those that speak of nothing current are ignored, but whatever output
    /// they claim is dropped.
    pub(crate) fn report(
        &mut self,
        executor: &ExecutorId,
        id: OutputId,
        state: AttemptState,
        shared: &mut Shared,
    ) {
        let at = TaskAt {
            stage: id.stage,
            task: id.task,
        };
        let current = self
            .stages
            .get(id.stage)
            .and_then(|stage| stage.task(id.task))
            .map(|task| &task.state)
            .filter(|state| state.is_current(executor, id.attempt));
        match (current, state) {
            (Some(TaskState::Running(_)), state) => {
                self.attempt_ended(at, executor, id, state, shared)
            }
            // Said before.
            (Some(_), _) => {}
            (None, AttemptState::Finished { .. }) => {
                shared.counters.stale_reports += 1;
                let what = AttemptRef {
                    stage: id.stage,
                    task: id.task,
                    attempt: id.attempt,
                };
                shared.out.release(executor, self.id, self.epoch, what);
            }
            (None, _) => shared.counters.stale_reports += 1,
        }
    }

    fn attempt_ended(
        &mut self,
        at: TaskAt,
        executor: &ExecutorId,
        id: OutputId,
        state: AttemptState,
        shared: &mut Shared,
    ) {
        match state {
            AttemptState::Running { .. } => {}
            AttemptState::Finished { summary, inline } => {
                shared.counters.attempts_finished += 1;
                let root = self.stages[at.stage].consumer.is_none();
                let output = Output {
                    executor: executor.clone(),
                    attempt: id.attempt,
                    summary: Arc::new(summary),
                    inline: inline && root,
                };
                self.finish(at, output, shared);
            }
            AttemptState::Failed(error) => {
                shared.counters.attempts_failed += 1;
                self.attempt_failed(at, executor, error, shared);
            }
            // Nobody here asked for it: the executor gave up on its own account.
            AttemptState::Cancelled => {
                shared.counters.attempts_lost += 1;
                self.send_back(at, shared);
                self.check_reruns(shared);
            }
        }
    }

    fn attempt_failed(
        &mut self,
        at: TaskAt,
        executor: &ExecutorId,
        error: QueryError,
        shared: &mut Shared,
    ) {
        if !error.class.worth_another_attempt() {
            self.fail(error, shared);
        } else if error.class == ErrorClass::OutputLost && !error.lost.is_empty() {
            // Not the reader's failure: it waits for what is made again.
            self.send_back(at, shared);
            self.outputs_lost(&error.lost, shared);
            self.check_reruns(shared);
        } else if self.another_attempt(at, executor, &error, shared) {
            self.back_off(at, executor, shared);
        }
    }

    /// Counts a failure of the task's own. With the last one granted the query fails.
    pub(super) fn another_attempt(
        &mut self,
        at: TaskAt,
        executor: &ExecutorId,
        error: &QueryError,
        shared: &mut Shared,
    ) -> bool {
        let Some(task) = self.stages[at.stage].task_mut(at.task) else {
            return false;
        };
        task.failures += 1;
        let failures = task.failures;
        if failures < shared.options.max_attempts {
            return true;
        }
        let message = format!(
            "stage {} task {} failed after {failures} attempts, the last one on executor \
             {executor}: {}",
            at.stage, at.task, error.message
        );
        self.fail(QueryError::new(error.class, message), shared);
        false
    }

    fn back_off(&mut self, at: TaskAt, executor: &ExecutorId, shared: &mut Shared) {
        let Some(task) = self.stages[at.stage].task_mut(at.task) else {
            return;
        };
        task.avoid = Some(executor.clone());
        let wait = shared.options.backoff_after(task.failures);
        let until = shared.now.after(wait);
        shared
            .timers
            .set(until, Alarm::Backoff(self.id, at.stage, at.task));
        self.put(at, TaskState::Backoff { until }, shared);
    }

    /// The wait after a failure is over.
    pub(crate) fn backoff_over(&mut self, at: TaskAt, shared: &mut Shared) {
        let task = self.stages.get(at.stage).and_then(|s| s.task(at.task));
        if let Some(TaskState::Backoff { until }) = task.map(|task| &task.state)
            && *until <= shared.now
        {
            self.put(at, TaskState::Ready, shared);
        }
    }
}
