//! The life of one query.
//!
//! ```text
//!   Queued ──► Running ──► Settled ──► Ended
//!      │          │           │          ▲
//!      └──────────┴───────────┴──────────┘   cancelled, failed, released
//! ```
//!
//! A stage is *wanted* while its reader is wanted and incomplete, and *available* while every task
//! has an output. These two, with the number of inputs that are not available, decide everything:
//! tasks of a wanted stage with all inputs are launched; outputs of an unwanted one are released.
//! When an output is lost, its stage stops being available, the stages below are wanted again, and
//! the same rules run them.

mod adopt;
mod inventory;
mod launch;
mod outcome;
mod recovery;
mod report;
mod stage;
mod stages;
mod task;

use std::collections::BTreeSet;
use std::sync::Arc;

use paceline_model::{
    Attempt, Epoch, ExecutorId, QueryId, QueryState, Stage, StageGraph, StageId, StageProgress,
};

pub(crate) use launch::Launched;
pub(crate) use stage::StageRank;
pub(crate) use stages::{Stages, inputs_of};
pub(crate) use task::{TaskAt, TaskState};

use crate::event::AttemptRef;
use crate::shared::Shared;
use crate::time::Now;
use crate::timers::Alarm;
use task::Output;

/// Where a query is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits for its turn.
    Queued,
    /// It has no outcome yet.
    Running,
    /// It finished. Its result is kept, and made again if it gets lost.
    Settled,
    /// It is over; the driver takes it out.
    Ended,
}

#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) id: QueryId,
    pub(crate) epoch: Epoch,
    /// Rises with each query that comes in.
    pub(crate) turn: u64,
    pub(crate) phase: Phase,
    pub(crate) stages: Stages,
    /// Stages with something to launch, in the order in which they get their turn.
    pub(crate) open: BTreeSet<StageRank>,
    /// Slots of the tasks that run.
    pub(crate) slots: u32,
    /// Executors that were ever given something of it.
    pub(crate) executors: BTreeSet<ExecutorId>,
    /// Since when it has tasks to launch and no executor takes any.
    pub(crate) starved_since: Option<Now>,
    graph: Arc<StageGraph>,
    submitted: Now,
    deadline: Option<Now>,
    /// Tasks formed so far, in all stages.
    tasks: u32,
    /// Tasks sent back for another reason than a failure of their own.
    reruns: u32,
    /// Whether the result, once settled, may come out otherwise when it is made again.
    restart: bool,
    /// Attempts below this number are of another plan.
    floor: Attempt,
}

impl Query {
    pub(crate) fn new(
        id: QueryId,
        graph: Arc<StageGraph>,
        epoch: Epoch,
        turn: u64,
        deadline: Option<Now>,
        shared: &mut Shared,
    ) -> Self {
        if let Some(at) = deadline {
            shared.timers.set(at, Alarm::Deadline(id));
        }
        Query {
            id,
            epoch,
            turn,
            phase: Phase::Queued,
            stages: Stages::new(&graph),
            open: BTreeSet::new(),
            slots: 0,
            executors: BTreeSet::new(),
            starved_since: None,
            graph,
            submitted: shared.now,
            deadline,
            tasks: 0,
            reruns: 0,
            restart: false,
            floor: Attempt(0),
        }
    }

    /// What owners before this one left is of another plan, if there were any.
    pub(crate) fn planned_afresh(&mut self) {
        self.floor = task::first_attempt(self.epoch);
    }

    /// Its turn has come.
    pub(crate) fn start(&mut self) {
        self.phase = Phase::Running;
        self.open = self
            .stages
            .iter()
            .filter(|stage| stage.is_open())
            .map(|stage| stage.rank())
            .collect();
    }

    pub(crate) fn graph(&self) -> &StageGraph {
        &self.graph
    }

    pub(crate) fn state(&self) -> QueryState {
        match self.phase {
            Phase::Queued => QueryState::Queued,
            Phase::Running => QueryState::Running,
            Phase::Settled | Phase::Ended => QueryState::Finished,
        }
    }

    pub(crate) fn progress(&self) -> Vec<StageProgress> {
        self.stages.iter().map(|stage| stage.progress()).collect()
    }

    /// Gives a task another state and keeps every number that follows from it.
    fn put(&mut self, at: TaskAt, state: TaskState, shared: &mut Shared) -> TaskState {
        if let TaskState::Running(run) = &state {
            shared.executors.occupy(&run.executor, run.slots);
            self.slots += run.slots;
        }
        let stage = &mut self.stages[at.stage];
        let (before, consumer) = (stage.is_available(), stage.consumer);
        let old = stage.put(at.task, state);
        let after = stage.is_available();
        if let TaskState::Running(run) = &old {
            shared.executors.vacate(&run.executor, run.slots);
            self.slots -= run.slots;
        }
        if before != after
            && let Some(consumer) = consumer
        {
            let missing = &mut self.stages[consumer].missing_inputs;
            *missing = if after { *missing - 1 } else { *missing + 1 };
            self.refresh(consumer);
        }
        self.refresh(at.stage);
        old
    }

    /// Puts a stage on the list of those with something to launch, or takes it off.
    fn refresh(&mut self, id: StageId) {
        let stage = &self.stages[id];
        if self.phase != Phase::Queued && stage.is_open() {
            self.open.insert(stage.rank());
        } else {
            self.open.remove(&stage.rank());
        }
    }

    /// From now on that executor is told when the query ends.
    fn involve(&mut self, executor: &ExecutorId, shared: &mut Shared) {
        if self.executors.insert(executor.clone()) {
            shared.executors.involve(executor, self.id);
        }
    }

    /// A task has its output; with the last one its stage is complete.
    fn finish(&mut self, at: TaskAt, mut output: Output, shared: &mut Shared) {
        if self.graph.stage(at.stage).is_some_and(Stage::is_hashed) {
            // No placement asks for these, and kept and journaled they would grow with producers ×
            // consumers, whoever says them.
            Arc::make_mut(&mut output.summary).partition_bytes = Vec::new();
        }
        self.put(at, TaskState::Finished(output), shared);
        if self.stages[at.stage].is_available() {
            self.complete(at.stage, shared);
        }
    }

    /// An executor has another address than before.
    pub(crate) fn forget_locations(&mut self) {
        for stage in self.stages.iter_mut() {
            stage.forget_locations();
        }
    }

    /// Stops an attempt or drops an output, whichever the state stands for.
    fn discard(&self, at: TaskAt, state: &TaskState, shared: &mut Shared) {
        let Some((executor, attempt)) = state.held() else {
            return;
        };
        let what = AttemptRef {
            stage: at.stage,
            task: at.task,
            attempt,
        };
        if !shared.executors.is_attached(executor) {
            return;
        }
        if matches!(state, TaskState::Running(_)) {
            shared.counters.attempts_cancelled += 1;
            shared.out.cancel(executor, self.id, self.epoch, what);
        } else {
            shared.out.release(executor, self.id, self.epoch, what);
        }
    }
}
