//! A model of an executor: it runs what it is told, may die, and may lose what it holds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use paceline_core::{Action, AttemptRef, AttemptState, HeldQuery, TaskLaunch};
use paceline_model::{
    Epoch, ExecutorId, OutputId, OutputLocation, OutputSummary, QueryId, StageId, TaskId,
};

/// What an output was made from: for every task that leaves other rows each time, which of its
/// attempts. Two outputs may be read together only if they agree on all they have in common.
pub(crate) type Lineage = BTreeMap<(StageId, TaskId), u64>;

#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) launch: TaskLaunch,
    pub(crate) inputs: Vec<(StageId, Arc<[OutputLocation]>)>,
}

#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) lineage: Lineage,
    pub(crate) summary: OutputSummary,
}

#[derive(Default)]
pub(crate) struct Share {
    pub(crate) epoch: Epoch,
    pub(crate) running: BTreeMap<AttemptRef, Run>,
    pub(crate) outputs: BTreeMap<AttemptRef, Kept>,
    /// Copies of results that went within reports, for the next owner.
    pub(crate) copies: BTreeMap<AttemptRef, Kept>,
}

#[derive(Clone)]
pub(crate) struct Report {
    pub(crate) id: OutputId,
    pub(crate) epoch: Epoch,
    pub(crate) state: AttemptState,
    /// The result that comes with it.
    pub(crate) inline: Option<Kept>,
}

pub(crate) struct Executor {
    pub(crate) id: ExecutorId,
    pub(crate) slots: u32,
    pub(crate) alive: bool,
    /// Whether it has a stream to the scheduler, from its own point of view.
    pub(crate) attached: bool,
    pub(crate) draining: bool,
    pub(crate) queries: BTreeMap<QueryId, Share>,
    /// Commands on their way, in order.
    pub(crate) inbox: VecDeque<Action>,
    /// Reports that nobody acknowledged.
    pub(crate) unacknowledged: Vec<Report>,
}

impl Executor {
    pub(crate) fn new(id: ExecutorId, slots: u32) -> Self {
        Executor {
            id,
            slots,
            alive: true,
            attached: false,
            draining: false,
            queries: BTreeMap::new(),
            inbox: VecDeque::new(),
            unacknowledged: Vec::new(),
        }
    }

    pub(crate) fn inventory(&self) -> Vec<HeldQuery> {
        self.queries
            .iter()
            .map(|(&query, share)| HeldQuery {
                query,
                epoch: share.epoch,
                finished: share
                    .outputs
                    .iter()
                    .map(|(&id, kept)| (id, kept.summary.clone()))
                    .collect(),
                inline: Vec::new(),
                running: share.running.keys().copied().collect(),
                ours: false,
            })
            .collect()
    }

    /// What it answers a new owner, and the results that come with that.
    pub(crate) fn answer(&self, query: QueryId) -> Option<(HeldQuery, Vec<(OutputId, Kept)>)> {
        let held = self.inventory();
        let mut held = held.into_iter().find(|held| held.query == query)?;
        let copies = &self.queries[&query].copies;
        let inline = copies.iter().map(|(&id, kept)| (id, kept.summary.clone()));
        held.inline = inline.collect();
        let results = copies.iter();
        let results = results.map(|(&id, kept)| (output_id(query, id), kept.clone()));
        Some((held, results.collect()))
    }

    pub(crate) fn kept(&self, query: QueryId, what: AttemptRef) -> Option<&Kept> {
        self.queries.get(&query)?.outputs.get(&what)
    }

    /// The epoch in which it obeys somebody.
    pub(crate) fn epoch(&self, query: QueryId) -> Option<Epoch> {
        self.queries.get(&query).map(|share| share.epoch)
    }

    /// Carries out the oldest command. Returns the reports that follow from it.
    pub(crate) fn obey(&mut self) -> Vec<Report> {
        let Some(command) = self.inbox.pop_front() else {
            return Vec::new();
        };
        match command {
            Action::Launch {
                query,
                epoch,
                stage,
                tasks,
                inputs,
                ..
            } => {
                if let Some(share) = self.share(query, epoch) {
                    for launch in tasks {
                        let id = AttemptRef {
                            stage,
                            task: launch.task,
                            attempt: launch.attempt,
                        };
                        let inputs = inputs.clone();
                        share.running.insert(id, Run { launch, inputs });
                    }
                }
                Vec::new()
            }
            Action::AnnounceOwner { query, epoch, .. } => {
                self.known_share(query, epoch);
                Vec::new()
            }
            Action::CancelAttempts {
                query,
                epoch,
                attempts,
                ..
            } => self.cancel(query, epoch, &attempts),
            Action::ReleaseOutputs {
                query,
                epoch,
                outputs,
                ..
            } => {
                if let Some(share) = self.known_share(query, epoch) {
                    for id in outputs {
                        share.outputs.remove(&id);
                    }
                }
                Vec::new()
            }
            Action::EndQuery { query, epoch, .. } => {
                if self.known_share(query, epoch).is_some() {
                    self.queries.remove(&query);
                }
                Vec::new()
            }
            other => panic!("not a command: {other:?}"),
        }
    }

    fn cancel(&mut self, query: QueryId, epoch: Epoch, attempts: &[AttemptRef]) -> Vec<Report> {
        let Some(share) = self.known_share(query, epoch) else {
            return Vec::new();
        };
        let mut reports = Vec::new();
        for id in attempts {
            share.outputs.remove(id);
            if share.running.remove(id).is_some() {
                reports.push(Report {
                    id: output_id(query, *id),
                    epoch,
                    state: AttemptState::Cancelled,
                    inline: None,
                });
            }
        }
        reports
    }

    fn share(&mut self, query: QueryId, epoch: Epoch) -> Option<&mut Share> {
        let share = self.queries.entry(query).or_default();
        if epoch < share.epoch {
            return None;
        }
        share.epoch = epoch;
        Some(share)
    }

    fn known_share(&mut self, query: QueryId, epoch: Epoch) -> Option<&mut Share> {
        let share = self.queries.get_mut(&query)?;
        if epoch < share.epoch {
            return None;
        }
        share.epoch = epoch;
        Some(share)
    }
}

pub(crate) fn output_id(query: QueryId, id: AttemptRef) -> OutputId {
    OutputId {
        query,
        stage: id.stage,
        task: id.task,
        attempt: id.attempt,
    }
}
