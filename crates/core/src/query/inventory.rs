//! What an attaching executor turns out to hold, compared with what it should.

use std::collections::BTreeSet;
use std::sync::Arc;

use paceline_model::{ExecutorId, OutputSummary, StageId};

use super::Query;
use super::task::{Output, RunningAttempt, TaskAt, TaskState};
use crate::event::{AttemptRef, HeldQuery};
use crate::shared::Shared;

impl Query {
    /// Takes back what an executor holds and is still of use, and tells it to drop the rest.
    pub(crate) fn take_back(
        &mut self,
        executor: &ExecutorId,
        held: &HeldQuery,
        shared: &mut Shared,
    ) {
        self.involve(executor, shared);
        for (attempt, summary) in &held.finished {
            let at = at(attempt);
            if self.holds(executor, attempt) && !self.runs_on(at, executor) {
                continue;
            }
            if self.may_take_back(attempt) || self.runs(executor, attempt) {
                shared.counters.outputs_taken_back += 1;
                let output = Output {
                    executor: executor.clone(),
                    attempt: attempt.attempt,
                    summary: Arc::new(summary.clone()),
                    inline: false,
                };
                self.finish(at, output, shared);
            } else {
                shared.out.release(executor, self.id, self.epoch, *attempt);
            }
        }
        for (attempt, summary) in &held.inline {
            self.take_back_inline(executor, attempt, summary, shared);
        }
        for attempt in &held.running {
            if self.holds(executor, attempt) {
                continue;
            }
            if self.may_take_back(attempt) {
                self.take_back_running(executor, attempt, shared);
            } else {
                shared.out.cancel(executor, self.id, self.epoch, *attempt);
            }
        }
    }

    /// Takes a part of the result that came with the inventory. What is of no use is the executor's to drop
    /// with its query.
    fn take_back_inline(
        &mut self,
        executor: &ExecutorId,
        what: &AttemptRef,
        summary: &OutputSummary,
        shared: &mut Shared,
    ) {
        let current = self.may_take_back(what) || self.runs(executor, what);
        if !current || !self.is_root(what.stage) {
            return;
        }
        shared.counters.outputs_taken_back += 1;
        let output = Output {
            executor: executor.clone(),
            attempt: what.attempt,
            summary: Arc::new(summary.clone()),
            inline: true,
        };
        self.finish(at(what), output, shared);
    }

    pub(super) fn is_root(&self, stage: StageId) -> bool {
        let stage = self.stages.get(stage);
        stage.is_some_and(|stage| stage.consumer.is_none())
    }

    fn take_back_running(&mut self, executor: &ExecutorId, what: &AttemptRef, shared: &mut Shared) {
        let task = self.stages[what.stage].task(what.task);
        let (Some(task), Some(holder)) = (task, shared.executors.get(executor)) else {
            return;
        };
        shared.counters.attempts_taken_back += 1;
        let run = RunningAttempt {
            executor: executor.clone(),
            attempt: what.attempt,
            slots: holder.slots_for(task.partitions.count),
        };
        self.put(at(what), TaskState::Running(run), shared);
    }

    /// Gives up on what the executor should hold and does not name.
    pub(crate) fn give_up_unnamed(
        &mut self,
        executor: &ExecutorId,
        held: Option<&HeldQuery>,
        shared: &mut Shared,
    ) {
        let finished = held.iter().flat_map(|held| &held.finished);
        let finished: BTreeSet<_> = finished.map(|&(attempt, _)| attempt).collect();
        let running = held.iter().flat_map(|held| &held.running);
        let running: BTreeSet<_> = running.copied().collect();
        for at in self.held_by(executor) {
            let Some(what) = self.current_attempt(at) else {
                continue;
            };
            if self.holds_output(at, executor) && !finished.contains(&what) {
                self.lose_output(at, None, shared);
            } else if self.runs_on(at, executor) && !running.contains(&what) {
                shared.counters.attempts_lost += 1;
                self.send_back(at, shared);
            }
        }
        self.check_reruns(shared);
    }

    fn current_attempt(&self, at: TaskAt) -> Option<AttemptRef> {
        let task = self.stages.get(at.stage)?.task(at.task)?;
        let (_, attempt) = task.state.held()?;
        Some(AttemptRef {
            stage: at.stage,
            task: at.task,
            attempt,
        })
    }

    /// Whether this attempt, there, is the one that counts.
    fn holds(&self, executor: &ExecutorId, what: &AttemptRef) -> bool {
        let task = self.stages.get(what.stage).and_then(|s| s.task(what.task));
        task.is_some_and(|task| task.state.is_current(executor, what.attempt))
    }

    fn runs(&self, executor: &ExecutorId, what: &AttemptRef) -> bool {
        self.holds(executor, what) && self.runs_on(at(what), executor)
    }

    pub(super) fn may_take_back(&self, what: &AttemptRef) -> bool {
        let stage = self.stages.get(what.stage).filter(|stage| stage.wanted);
        stage
            .and_then(|stage| stage.task(what.task))
            .is_some_and(|task| task.may_take_back(what.attempt))
    }
}

fn at(attempt: &AttemptRef) -> TaskAt {
    TaskAt {
        stage: attempt.stage,
        task: attempt.task,
    }
}
