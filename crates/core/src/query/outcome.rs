//! How a query comes to its one outcome, and what happens after.

use paceline_model::{ErrorClass, QueryError, StageId};

use super::task::TaskState;
use super::{Phase, Query};
use crate::action::{Action, Outcome};
use crate::shared::Shared;
use crate::timers::Alarm;

impl Query {
    /// All tasks of a stage have their outputs.
    pub(super) fn complete(&mut self, id: StageId, shared: &mut Shared) {
        let Some(spec) = self.graph.stage(id) else {
            return;
        };
        let outputs = self.stages[id].outputs(spec, &shared.executors);
        shared.out.tell(Action::StageFinished {
            query: self.id,
            stage: id,
            outputs: outputs.clone(),
        });
        self.close_inputs(id, shared);
        if self.stages[id].consumer.is_some() {
            return;
        }
        if self.phase == Phase::Settled {
            let restart = std::mem::take(&mut self.restart);
            shared.out.tell(Action::ResultChanged {
                query: self.id,
                result: outputs,
                restart,
            });
        } else {
            shared.counters.queries_finished += 1;
            self.settle(Outcome::Finished { result: outputs }, shared);
            self.phase = Phase::Settled;
        }
    }

    /// Says what became of the query. Called once, on leaving `Queued` or `Running` for good.
    fn settle(&mut self, outcome: Outcome, shared: &mut Shared) {
        if let Some(at) = self.deadline.take() {
            shared.timers.cancel(at, Alarm::Deadline(self.id));
        }
        if self.phase == Phase::Queued {
            shared.admission.give_up(self.turn);
        } else {
            shared.admission.leave();
        }
        shared.out.tell(Action::Settled {
            query: self.id,
            outcome,
            stages: self.progress(),
        });
    }

    /// The query failed. If it had its outcome already, only its result is gone.
    pub(crate) fn fail(&mut self, error: QueryError, shared: &mut Shared) {
        match self.phase {
            Phase::Queued | Phase::Running => {
                shared.counters.queries_failed += 1;
                self.settle(Outcome::Failed(error), shared);
            }
            Phase::Settled => shared.out.tell(Action::ResultGone {
                query: self.id,
                error,
            }),
            Phase::Ended => return,
        }
        self.phase = Phase::Ended;
    }

    pub(crate) fn cancel(&mut self, shared: &mut Shared) {
        if matches!(self.phase, Phase::Queued | Phase::Running) {
            shared.counters.queries_cancelled += 1;
            self.settle(Outcome::Cancelled, shared);
            self.phase = Phase::Ended;
        }
    }

    /// Nobody wants the result any more.
    pub(crate) fn release(&mut self) {
        if self.phase == Phase::Settled {
            self.phase = Phase::Ended;
        }
    }

    pub(crate) fn deadline_passed(&mut self, shared: &mut Shared) {
        let Some(at) = self.deadline.filter(|&at| at <= shared.now) else {
            return;
        };
        let limit = at.since(self.submitted);
        let message = format!(
            "the query did not finish within its limit of {limit:?}; raise the limit or ask for less"
        );
        self.fail(
            QueryError::new(ErrorClass::DeadlineExceeded, message),
            shared,
        );
    }

    /// The wait for an executor is over.
    pub(crate) fn starved(&mut self, shared: &mut Shared) {
        let grace = shared.options.no_executor_grace;
        let Some(since) = self.starved_since else {
            return;
        };
        if since.after(grace) > shared.now {
            return;
        }
        if self.open.is_empty() {
            // It got on without; the next wait counts from its own start.
            self.starved_since = None;
            shared.starved.remove(&self.id);
            return;
        }
        let message = match shared.executors.len() {
            0 => format!(
                "no executor was attached for {grace:?}: start executors that list this \
                 scheduler, or check that they can reach its cluster port"
            ),
            n => format!(
                "all {n} attached executors have been draining for {grace:?}: start further \
                 executors that list this scheduler"
            ),
        };
        self.fail(QueryError::new(ErrorClass::Unavailable, message), shared);
    }

    /// Tells everybody that it is over and gives back its slots.
    pub(crate) fn bury(&mut self, shared: &mut Shared) {
        for stage in self.stages.iter() {
            for task in &stage.tasks {
                if let TaskState::Running(run) = &task.state {
                    shared.executors.vacate(&run.executor, run.slots);
                }
            }
        }
        for executor in &self.executors {
            shared.executors.forget(executor, self.id);
            if shared.executors.is_attached(executor) {
                shared.out.end(executor, self.id, self.epoch);
            }
        }
        shared.starved.remove(&self.id);
    }
}
