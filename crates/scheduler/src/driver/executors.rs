//! What executors say, and what is said to all of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use paceline_core::ownership::Evidence;
use paceline_core::{AttemptState, Event};
use paceline_model::{Epoch, ExecutorId, QueryId, SchedulerId};
use paceline_proto::cluster;
use paceline_proto::cluster::from_scheduler::Message;

use super::{Driver, State};
use crate::links::{Link, LinkId};
use crate::news::News;
use crate::wire::{Answer, Report};

impl Driver {
    /// The slots of every executor that takes tasks.
    pub(crate) fn slots(&self) -> Vec<u32> {
        let state = self.state.lock();
        let executors = state.core.executors();
        executors
            .iter()
            .filter(|executor| !executor.draining)
            .map(|executor| executor.slots)
            .collect()
    }

    /// How many executors hold a stream to this scheduler.
    pub(crate) fn open_streams(&self) -> usize {
        self.state.lock().links.open().len()
    }

    /// Every executor, for status pages.
    pub(crate) fn executors(&self) -> Vec<paceline_frontend::ExecutorStatus> {
        let state = self.state.lock();
        let known = state.core.executors();
        known
            .into_iter()
            .map(|executor| {
                let link = state.links.get(&executor.executor);
                paceline_frontend::ExecutorStatus {
                    version: link.map(|l| l.version.clone()).unwrap_or_default(),
                    slots_used: link.map_or(0, |l| l.load.slots_used),
                    memory_bytes: link.map_or(0, |l| l.memory_bytes),
                    memory_used_bytes: link.map_or(0, |l| l.load.memory_used_bytes),
                    id: executor.executor,
                    address: executor.address,
                    zone: executor.zone,
                    slots: executor.slots,
                    draining: executor.draining,
                }
            })
            .collect()
    }

    /// An executor attached with all it holds. None if it was welcomed under an id that this
    /// scheduler has given up since.
    pub(crate) fn attached(
        &self,
        welcomed_by: &SchedulerId,
        hello: cluster::Hello,
        answers: Vec<Answer>,
        outgoing: tokio::sync::mpsc::Sender<cluster::FromScheduler>,
    ) -> Option<LinkId> {
        let mut state = self.state.lock();
        if self.me() != *welcomed_by {
            return None;
        }
        state.next_link += 1;
        let id = LinkId(state.next_link);
        let executor = ExecutorId::new(hello.executor.as_str());
        let mut all = Vec::with_capacity(answers.len());
        for Answer {
            mut held, owner, ..
        } in answers
        {
            self.doubt_if_overtaken(&state, held.query, held.epoch);
            held.ours = self.is_ours(&state, held.query, owner.as_ref());
            all.push(held);
        }
        let link = Link::new(id, outgoing, &hello, Instant::now());
        state.links.insert(executor.clone(), link);
        let event = Event::ExecutorAttached {
            executor: executor.clone(),
            address: hello.address,
            zone: hello.zone,
            slots: hello.slots.max(1),
            draining: false,
            held: all,
        };
        self.apply_locked(&mut state, event);
        self.ask_of_adopted(&mut state, &executor);
        Some(id)
    }

    /// Whether an executor that obeys `owner` for a query obeys this scheduler, and that would be known to
    /// the core if it had not ended. Of queries that are being adopted the core is told later; of those that
    /// were given away, others.
    pub(super) fn is_ours(
        &self,
        state: &State,
        query: QueryId,
        owner: Option<&SchedulerId>,
    ) -> bool {
        let here = !state.is_over && !state.adopting.contains_key(&query);
        here && owner.is_some_and(|owner| *owner == self.me())
    }

    /// An executor says which schedulers it holds a stream to.
    pub(crate) fn streams(&self, executor: &ExecutorId, streams: Vec<SchedulerId>) {
        let mut state = self.state.lock();
        let Some(link) = state.links.get_mut(executor) else {
            return;
        };
        let now: BTreeSet<SchedulerId> = streams.into_iter().collect();
        let before = std::mem::replace(&mut link.streams, now);
        for scheduler in before.symmetric_difference(&link.streams) {
            self.newsroom.tell(News::Evidence(Evidence::Stream {
                executor: executor.clone(),
                scheduler: scheduler.clone(),
                held: link.streams.contains(scheduler),
            }));
        }
    }

    /// An executor said something; false if another stream of it has taken this one's place.
    pub(crate) fn heard(
        &self,
        executor: &ExecutorId,
        id: LinkId,
        load: Option<cluster::Load>,
    ) -> bool {
        let mut state = self.state.lock();
        let Some(link) = state.links.get_mut(executor).filter(|link| link.id == id) else {
            return false;
        };
        link.heard = Instant::now();
        let Some(load) = load else { return true };
        let drains = load.draining && !link.load.draining;
        link.load = load;
        if drains {
            let executor = executor.clone();
            self.apply_locked(&mut state, Event::ExecutorDraining { executor });
        }
        let event = Event::Load {
            executor: executor.clone(),
            slots_used: load.slots_used,
            slots_queued: load.slots_queued,
        };
        self.apply_locked(&mut state, event);
        true
    }

    /// An executor reported the state of an attempt.
    pub(crate) fn reported(
        &self,
        executor: &ExecutorId,
        id: paceline_model::OutputId,
        epoch: Epoch,
        report: Report,
    ) {
        let mut state = self.state.lock();
        self.metrics.reported(&report);
        self.doubt_if_overtaken(&state, id.query, epoch);
        if let AttemptState::Failed(_) = &report.state {
            // One reason to fail is that it did not have the plan; it is sent again.
            state.links.forget_plan(executor, id.query, id.stage);
        }
        let stopped = !matches!(report.state, AttemptState::Running { .. });
        if stopped && state.shelf.leaves_behind(&id.query).is_some() {
            self.newsroom.tell(News::Leftovers { query: id.query });
        }
        if let Some(record) = state.shelf.get_mut(&id.query) {
            if let Some(bytes) = report.inline_result {
                record.keep_inline(id.task, id.attempt, bytes);
            }
            if record.plan.as_ref().is_some_and(|plan| plan.analyze) {
                record.operators.record(id.stage, id.task, report.operators);
            }
        }
        let kept = self.keep_for_later(&mut state, executor, id, epoch, report.state);
        let Some(reported) = kept else { return };
        let event = Event::TaskReport {
            executor: executor.clone(),
            id,
            epoch,
            state: reported,
        };
        self.apply_locked(&mut state, event);
    }

    /// An executor that has seen a later owner of a query than this one obeys that one: this
    /// scheduler's journal may be sealed.
    pub(super) fn doubt_if_overtaken(&self, state: &State, query: QueryId, seen: Epoch) {
        let record = state.shelf.get(&query).filter(|record| !record.is_moved());
        if record.is_some_and(|record| record.epoch < seen) {
            self.metrics.overtaken();
            self.newsroom.tell(News::Doubt);
        }
    }

    /// Acknowledges states to the executor that reported them.
    pub(crate) fn acknowledge(&self, executor: &ExecutorId, numbers: Vec<u64>) {
        self.tell(
            executor,
            Message::Acknowledge(cluster::Acknowledge { numbers }),
        );
    }

    /// Tells an executor something that is not about its tasks.
    pub(crate) fn tell(&self, executor: &ExecutorId, message: Message) {
        self.state.lock().links.send(executor, message);
    }

    /// A stream broke. The executor's address, if no other stream has taken its place.
    pub(crate) fn stream_broke(&self, executor: &ExecutorId, id: LinkId) -> Option<String> {
        let mut state = self.state.lock();
        let link = state.links.get_mut(executor).filter(|link| link.id == id)?;
        link.broken = true;
        Some(link.address.clone())
    }

    /// Holds an executor for lost, unless it has attached again since.
    pub(crate) fn lost(&self, executor: &ExecutorId, id: LinkId, reason: String) {
        let mut state = self.state.lock();
        let current = state.links.get(executor).is_some_and(|link| link.id == id);
        if current {
            tracing::warn!(%executor, reason, "executor lost");
            state.links.remove(executor);
            self.wait_no_more_for(&mut state, executor);
            let gone = Evidence::ExecutorGone {
                executor: executor.clone(),
            };
            self.newsroom.tell(News::Evidence(gone));
            let executor = executor.clone();
            self.apply_locked(&mut state, Event::ExecutorLost { executor, reason });
        }
    }

    /// Executors that have been silent for too long.
    pub(crate) fn silent(&self, timeout: Duration) -> Vec<(ExecutorId, LinkId)> {
        let state = self.state.lock();
        state
            .links
            .iter()
            .filter(|(_, link)| !link.broken && link.heard.elapsed() > timeout)
            .map(|(executor, link)| (executor.clone(), link.id))
            .collect()
    }

    /// Tells every executor who the schedulers are.
    pub(crate) fn broadcast(&self, message: &Message) {
        self.state.lock().links.broadcast(message);
    }
}
