//! What executors say: that they are there, that they are not, and how attempts went.

use std::collections::BTreeMap;

use paceline_model::{Epoch, ExecutorId, OutputId, QueryId};

use crate::Core;
use crate::event::{AttemptRef, AttemptState, HeldQuery};

impl Core {
    /// An executor attached, for the first time or again.
    pub(crate) fn attached(
        &mut self,
        executor: ExecutorId,
        address: String,
        zone: String,
        (slots, draining): (u32, bool),
        held: Vec<HeldQuery>,
    ) {
        let before = self.shared.executors.get(&executor);
        let moved = before.is_some_and(|known| known.address != address);
        let involved: Vec<QueryId> = before
            .map(|known| known.queries.iter().copied().collect())
            .unwrap_or_default();
        let executors = &mut self.shared.executors;
        executors.attach(executor.clone(), address, zone, slots, draining);
        for id in &involved {
            self.with(*id, |query, _| {
                if moved {
                    query.forget_locations();
                }
            });
        }
        let held: BTreeMap<QueryId, HeldQuery> =
            held.into_iter().map(|held| (held.query, held)).collect();
        for held in held.values() {
            self.reconcile(&executor, held);
        }
        for id in involved {
            self.with(id, |query, shared| {
                let held = held.get(&id).filter(|held| held.epoch <= query.epoch);
                query.give_up_unnamed(&executor, held, shared);
            });
        }
    }

    /// Takes back what an attaching executor holds of one query. Queries that are not known here are those
    /// of other owners, and none of our business; but those for which it obeys this scheduler have ended,
    /// so long ago perhaps that their ends are forgotten. Nobody else would tell it.
    pub(crate) fn reconcile(&mut self, executor: &ExecutorId, held: &HeldQuery) {
        let known = self.queries.contains_key(&held.query);
        match self.ended.get(&held.query) {
            Some(&epoch) if held.epoch <= epoch => {
                self.shared.out.end(executor, held.query, epoch);
            }
            _ if held.ours && !known => self.shared.out.end(executor, held.query, held.epoch),
            _ => {}
        }
        self.with(held.query, |query, shared| {
            if held.epoch < query.epoch {
                shared.out.announce(executor, query.id, query.epoch);
            }
            if held.epoch <= query.epoch {
                query.take_back(executor, held, shared);
            }
        });
    }

    /// An executor is gone.
    pub(crate) fn lost(&mut self, executor: &ExecutorId, reason: &str) {
        let Some(record) = self.shared.executors.remove(executor) else {
            return;
        };
        self.shared.counters.executors_lost += 1;
        for id in record.queries {
            self.with(id, |query, shared| {
                query.executors.remove(executor);
                query.executor_lost(executor, reason, shared);
            });
        }
    }

    /// An executor tells what became of an attempt.
    pub(crate) fn report(
        &mut self,
        executor: &ExecutorId,
        id: OutputId,
        epoch: Epoch,
        state: AttemptState,
    ) {
        if !self.shared.executors.is_attached(executor) {
            self.shared.counters.stale_reports += 1;
            return;
        }
        match self.queries.get(&id.query).map(|query| query.epoch) {
            // A lower epoch is that of a former owner, whose attempt may have been taken back.
            Some(ours) if epoch <= ours => self.with(id.query, |query, shared| {
                query.report(executor, id, state, shared);
            }),
            Some(_) => self.shared.counters.stale_reports += 1,
            None => self.report_of_nothing_known(executor, id, epoch, &state),
        }
    }

    fn report_of_nothing_known(
        &mut self,
        executor: &ExecutorId,
        id: OutputId,
        epoch: Epoch,
        state: &AttemptState,
    ) {
        self.shared.counters.stale_reports += 1;
        if matches!(state, AttemptState::Finished { .. }) {
            let what = AttemptRef {
                stage: id.stage,
                task: id.task,
                attempt: id.attempt,
            };
            self.shared.out.release(executor, id.query, epoch, what);
        }
    }
}
