//! Gathers the actions of one event, so that each executor hears of each matter once.

use std::collections::BTreeMap;
use std::sync::Arc;

use paceline_model::{Epoch, ExecutorId, OutputLocation, QueryId, StageId};

use crate::action::{Action, TaskLaunch};
use crate::event::AttemptRef;
use crate::time::Now;

type Inputs = Vec<(StageId, Arc<[OutputLocation]>)>;

/// Attempts of one query on one executor.
type Batches = BTreeMap<(QueryId, ExecutorId), (Epoch, Vec<AttemptRef>)>;

#[derive(Debug)]
struct LaunchBatch {
    epoch: Epoch,
    tasks: Vec<TaskLaunch>,
    inputs: Inputs,
}

/// The actions of one event.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    news: Vec<Action>,
    wake: Option<Now>,
    announced: BTreeMap<(QueryId, ExecutorId), Epoch>,
    cancelled: Batches,
    released: Batches,
    ended: BTreeMap<(QueryId, ExecutorId), Epoch>,
    launches: BTreeMap<(QueryId, StageId, ExecutorId), LaunchBatch>,
}

impl Outbox {
    /// Something that concerns no executor.
    pub(crate) fn tell(&mut self, news: Action) {
        self.news.push(news);
    }

    pub(crate) fn wake_at(&mut self, at: Now) {
        self.wake = Some(at);
    }

    pub(crate) fn announce(&mut self, to: &ExecutorId, query: QueryId, epoch: Epoch) {
        self.announced.insert((query, to.clone()), epoch);
    }

    pub(crate) fn cancel(
        &mut self,
        to: &ExecutorId,
        query: QueryId,
        epoch: Epoch,
        what: AttemptRef,
    ) {
        let batch = self.cancelled.entry((query, to.clone()));
        batch.or_insert((epoch, Vec::new())).1.push(what);
    }

    pub(crate) fn release(
        &mut self,
        to: &ExecutorId,
        query: QueryId,
        epoch: Epoch,
        what: AttemptRef,
    ) {
        let batch = self.released.entry((query, to.clone()));
        batch.or_insert((epoch, Vec::new())).1.push(what);
    }

    pub(crate) fn end(&mut self, to: &ExecutorId, query: QueryId, epoch: Epoch) {
        self.ended.insert((query, to.clone()), epoch);
    }

    /// Adds a task to the launch of its stage there; `inputs` is asked once for each launch.
    pub(crate) fn launch(
        &mut self,
        to: &ExecutorId,
        query: QueryId,
        epoch: Epoch,
        stage: StageId,
        task: TaskLaunch,
        inputs: impl FnOnce() -> Inputs,
    ) {
        self.launches
            .entry((query, stage, to.clone()))
            .or_insert_with(|| LaunchBatch {
                epoch,
                tasks: Vec::new(),
                inputs: inputs(),
            })
            .tasks
            .push(task);
    }

    /// Everything, in an order in which it can be done. Empties the outbox.
    pub(crate) fn take(&mut self) -> Vec<Action> {
        let mut actions = std::mem::take(&mut self.news);
        let ended = std::mem::take(&mut self.ended);
        for ((query, executor), epoch) in std::mem::take(&mut self.announced) {
            actions.push(Action::AnnounceOwner {
                executor,
                query,
                epoch,
            });
        }
        for (key, (epoch, attempts)) in std::mem::take(&mut self.cancelled) {
            if !ended.contains_key(&key) {
                let (query, executor) = key;
                actions.push(Action::CancelAttempts {
                    executor,
                    query,
                    epoch,
                    attempts,
                });
            }
        }
        for (key, (epoch, outputs)) in std::mem::take(&mut self.released) {
            if !ended.contains_key(&key) {
                let (query, executor) = key;
                actions.push(Action::ReleaseOutputs {
                    executor,
                    query,
                    epoch,
                    outputs,
                });
            }
        }
        for ((query, executor), epoch) in ended {
            actions.push(Action::EndQuery {
                executor,
                query,
                epoch,
            });
        }
        for ((query, stage, executor), batch) in std::mem::take(&mut self.launches) {
            actions.push(Action::Launch {
                executor,
                query,
                epoch: batch.epoch,
                stage,
                tasks: batch.tasks,
                inputs: batch.inputs,
            });
        }
        actions.extend(self.wake.take().map(Action::WakeAt));
        actions
    }
}
