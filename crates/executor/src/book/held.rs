//! What is held of each query.

mod copies;
mod plans;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use paceline_model::{Epoch, OutputId, QueryId, SchedulerId, StageId};
use paceline_proto::cluster::task_state::State;
use paceline_proto::{attempt_ref, cluster, query_bytes};
use tokio_util::sync::CancellationToken;

use super::live::{Begin, LiveAttempt};
use super::{Refusal, task_state};
use copies::{output_alone, result_bytes};
use plans::Plan;

pub(crate) use plans::PlanProblem;

#[derive(Debug)]
struct HeldQuery {
    epoch: Epoch,
    owner: SchedulerId,
    /// Since when the owner is not attached.
    unowned_since: Option<Instant>,
    plans: HashMap<StageId, Plan>,
    live: BTreeMap<OutputId, LiveAttempt>,
    /// Finished attempts whose output is held.
    finished: BTreeMap<OutputId, cluster::TaskState>,
    /// Ends that brought the owner a result: it may die before anybody has read that, and then the next
    /// one is brought it.
    copies: BTreeMap<OutputId, cluster::TaskState>,
}

#[derive(Debug, Default)]
pub(super) struct Held {
    queries: HashMap<QueryId, HeldQuery>,
    last_serial: u64,
    /// Bytes of results in copies.
    copied: usize,
}

impl Held {
    /// Whether the query has a new owner by that.
    pub(super) fn admit(
        &mut self,
        query: QueryId,
        epoch: Epoch,
        scheduler: &SchedulerId,
    ) -> Result<bool, Refusal> {
        let Some(held) = self.queries.get_mut(&query) else {
            let held = HeldQuery {
                epoch,
                owner: scheduler.clone(),
                unowned_since: None,
                plans: HashMap::new(),
                live: BTreeMap::new(),
                finished: BTreeMap::new(),
                copies: BTreeMap::new(),
            };
            self.queries.insert(query, held);
            return Ok(false);
        };
        held.obeys(epoch)?;
        if epoch == held.epoch && held.owner != *scheduler {
            return Err(Refusal::NotOwner);
        }
        let taken_over = epoch > held.epoch;
        if taken_over {
            held.epoch = epoch;
            held.owner = scheduler.clone();
            held.unowned_since = None;
        }
        Ok(taken_over)
    }

    pub(super) fn owner(&self, query: QueryId) -> Option<&SchedulerId> {
        self.queries.get(&query).map(|held| &held.owner)
    }

    pub(super) fn epoch(&self, query: QueryId) -> Option<Epoch> {
        self.queries.get(&query).map(|held| held.epoch)
    }

    pub(super) fn knows(&self, query: QueryId) -> bool {
        self.queries.contains_key(&query)
    }

    pub(super) fn owner_attached(&mut self, scheduler: &SchedulerId) {
        for held in self.of(scheduler) {
            held.unowned_since = None;
        }
    }

    pub(super) fn owner_detached(&mut self, scheduler: &SchedulerId, now: Instant) {
        for held in self.of(scheduler) {
            held.unowned_since = Some(now);
        }
    }

    fn of(&mut self, scheduler: &SchedulerId) -> impl Iterator<Item = &mut HeldQuery> {
        self.queries
            .values_mut()
            .filter(move |held| held.owner == *scheduler)
    }

    pub(super) fn orphans(&self, now: Instant, ttl: Duration) -> Vec<QueryId> {
        self.queries
            .iter()
            .filter(|(_, held)| {
                held.unowned_since
                    .is_some_and(|since| now.saturating_duration_since(since) >= ttl)
            })
            .map(|(query, _)| *query)
            .collect()
    }

    /// Forgets all but the ownership.
    pub(super) fn clear(&mut self, query: QueryId) -> Vec<CancellationToken> {
        let Some(held) = self.queries.get_mut(&query) else {
            return Vec::new();
        };
        held.plans.clear();
        held.finished.clear();
        let copies = std::mem::take(&mut held.copies);
        self.copied -= copies.values().map(result_bytes).sum::<usize>();
        std::mem::take(&mut held.live)
            .into_values()
            .map(|attempt| attempt.cancel)
            .collect()
    }

    /// Forgets a query.
    pub(super) fn remove(&mut self, query: QueryId) -> Vec<CancellationToken> {
        let tokens = self.clear(query);
        self.queries.remove(&query);
        tokens
    }

    pub(super) fn begin(
        &mut self,
        id: OutputId,
        epoch: Epoch,
        mut attempt: LiveAttempt,
    ) -> Result<Begin, Refusal> {
        let held = self.queries.get_mut(&id.query).ok_or(Refusal::Ended)?;
        held.obeys(epoch)?;
        if held.live.contains_key(&id) {
            return Ok(Begin::Live);
        }
        if held.finished.contains_key(&id) {
            return Ok(Begin::Finished);
        }
        self.last_serial += 1;
        attempt.serial = self.last_serial;
        held.live.insert(id, attempt);
        Ok(Begin::Started(self.last_serial))
    }

    /// Forgets a live attempt. False if this one is not (any more) what the book knows.
    pub(super) fn complete(&mut self, id: &OutputId, serial: u64) -> bool {
        let Some(held) = self.queries.get_mut(&id.query) else {
            return false;
        };
        let current = held.live.get(id).is_some_and(|a| a.serial == serial);
        if current {
            held.live.remove(id);
        }
        current
    }

    /// Remembers a finished attempt for inventories; the result itself is said only once.
    pub(super) fn keep_finished(&mut self, id: OutputId, state: &cluster::TaskState) {
        if let Some(held) = self.queries.get_mut(&id.query) {
            let mut state = state.clone();
            if let Some(State::Finished(finished)) = &mut state.state {
                finished.inline_result = None;
            }
            held.finished.insert(id, state);
        }
    }

    pub(super) fn finished(&self, query: QueryId) -> Vec<OutputId> {
        self.queries
            .get(&query)
            .map(|held| held.finished.keys().copied().collect())
            .unwrap_or_default()
    }

    pub(super) fn finished_state(&self, id: &OutputId) -> Option<cluster::TaskState> {
        self.queries.get(&id.query)?.finished.get(id).cloned()
    }

    pub(super) fn release(&mut self, id: &OutputId) {
        if let Some(held) = self.queries.get_mut(&id.query) {
            held.finished.remove(id);
            if let Some(copy) = held.copies.remove(id) {
                self.copied -= result_bytes(&copy);
            }
        }
    }

    pub(super) fn cancel_token(&self, id: &OutputId) -> Option<CancellationToken> {
        let attempt = self.queries.get(&id.query)?.live.get(id)?;
        Some(attempt.cancel.clone())
    }

    /// What is to be said of running attempts that came further since last time.
    pub(super) fn progress(&mut self, scheduler: &SchedulerId) -> Vec<cluster::TaskState> {
        let mut states = Vec::new();
        for held in self.of(scheduler) {
            for (id, attempt) in &mut held.live {
                if let Some(news) = attempt.news() {
                    states.push(task_state(*id, State::Running(news)));
                }
            }
        }
        states
    }

    /// Every live attempt of a query as running, for an owner that may not know of them.
    pub(super) fn live_states(&self, query: QueryId) -> Vec<cluster::TaskState> {
        let Some(held) = self.queries.get(&query) else {
            return Vec::new();
        };
        held.live
            .iter()
            .map(|(id, attempt)| task_state(*id, State::Running(attempt.progress.running())))
            .collect()
    }

    pub(super) fn inventory(&self) -> cluster::Inventory {
        let queries = self
            .queries
            .iter()
            .map(|(query, held)| held.inventory(*query))
            .collect();
        cluster::Inventory {
            queries,
            more: false,
        }
    }

    /// All that is held of one query, with the results that its former owner may have been all that had.
    pub(super) fn of_query(&self, query: QueryId) -> Option<cluster::HeldQuery> {
        let held = self.queries.get(&query)?;
        let mut all = held.inventory(query);
        all.finished.extend(held.copies.values().cloned());
        Some(all)
    }

    pub(super) fn live_attempts(&self) -> usize {
        self.queries.values().map(|held| held.live.len()).sum()
    }

    pub(super) fn queries(&self) -> usize {
        self.queries.len()
    }

    pub(super) fn is_quiet(&self) -> bool {
        let mut queries = self.queries.values();
        queries.all(|held| held.live.is_empty() && held.finished.is_empty())
    }

    pub(super) fn all_tokens(&self) -> Vec<CancellationToken> {
        self.queries
            .values()
            .flat_map(|held| held.live.values())
            .map(|attempt| attempt.cancel.clone())
            .collect()
    }
}

impl HeldQuery {
    /// Of a query, only the commands of the highest epoch take effect. Asked as the query changes, and not
    /// only when a command comes in: a later owner may speak in between.
    fn obeys(&self, epoch: Epoch) -> Result<(), Refusal> {
        if epoch >= self.epoch {
            return Ok(());
        }
        #[cfg(feature = "sabotage")]
        if paceline_sabotage::leaves_out(paceline_sabotage::Check::Epoch) {
            return Ok(());
        }
        Err(Refusal::StaleEpoch(self.epoch))
    }

    fn is_using(&self, stage: StageId) -> bool {
        self.live
            .keys()
            .chain(self.finished.keys())
            .chain(self.copies.keys())
            .any(|id| id.stage == stage)
    }

    fn inventory(&self, query: QueryId) -> cluster::HeldQuery {
        let finished = self.finished.iter();
        let finished = finished.map(|(id, state)| {
            let mut state = task_state(*id, State::Finished(output_alone(state)));
            state.epoch = self.epoch.0;
            state
        });
        cluster::HeldQuery {
            query: query_bytes(query),
            epoch: self.epoch.0,
            finished: finished.collect(),
            running: self.live.keys().map(|id| attempt_ref(*id)).collect(),
            owner: self.owner.to_string(),
        }
    }
}
