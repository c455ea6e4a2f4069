//! What is held of each query.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use paceline_model::{Epoch, OutputId, QueryId, SchedulerId, StageId};
use paceline_proto::cluster::task_state::State;
use paceline_proto::{attempt_ref, cluster, query_bytes};
use tokio_util::sync::CancellationToken;

use super::{Refusal, task_state};

/// Bytes of results kept in copies, of all queries together. As long as owners live nobody asks for them,
/// so what is beyond that is not kept.
const COPIES_BYTES: usize = 64 << 20;

/// How far an attempt is. Written by its partitions, read by heartbeats.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) started: AtomicBool,
    pub(crate) rows: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl Progress {
    pub(crate) fn add(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn running(&self) -> cluster::Running {
        cluster::Running {
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// An attempt that waits or runs.
#[derive(Debug, Default)]
pub(crate) struct LiveAttempt {
    /// Stops it.
    pub(crate) cancel: CancellationToken,
    pub(crate) progress: Arc<Progress>,
    /// What its owner last heard of it.
    reported: Option<cluster::Running>,
    /// Tells apart two attempts of the same name, of which the former was dropped with its query.
    serial: u64,
}

impl LiveAttempt {
    pub(crate) fn new(cancel: CancellationToken, progress: Arc<Progress>) -> Self {
        LiveAttempt {
            cancel,
            progress,
            ..LiveAttempt::default()
        }
    }
}

/// What came of noting an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// It is live now, under this serial.
    Started(u64),
    /// It was live already: the launch is a repetition.
    Live,
    /// Its output is held already: the launch is a repetition.
    Finished,
}

/// Why there is no plan to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PlanProblem {
    /// None was sent and none is kept.
    Missing,
    /// In one epoch the stage has one plan, and another one is in use.
    Conflict,
    /// Whoever launches may not command the query any more.
    Refused(Refusal),
}

impl From<Refusal> for PlanProblem {
    fn from(refusal: Refusal) -> Self {
        PlanProblem::Refused(refusal)
    }
}

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

#[derive(Debug)]
struct Plan {
    bytes: Bytes,
    /// The last epoch in which it came.
    epoch: Epoch,
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

    /// The plan for launches of a stage in that epoch. That of a former owner gives way to the one that is
    /// sent: its attempts have theirs with them, and have numbers of their own; what becomes of them and
    /// their outputs the present owner says, one by one.
    pub(super) fn plan(
        &mut self,
        query: QueryId,
        stage: StageId,
        epoch: Epoch,
        sent: Option<Bytes>,
    ) -> Result<Bytes, PlanProblem> {
        let held = self.queries.get_mut(&query).ok_or(Refusal::Ended)?;
        held.obeys(epoch)?;
        let bytes = match (held.plans.get(&stage), sent) {
            (None, None) => return Err(PlanProblem::Missing),
            (Some(kept), None) => return Ok(kept.bytes.clone()),
            (Some(kept), Some(sent))
                if kept.epoch == epoch && kept.bytes != sent && held.is_using(stage) =>
            {
                return Err(PlanProblem::Conflict);
            }
            (_, Some(sent)) => sent,
        };
        let plan = Plan {
            bytes: bytes.clone(),
            epoch,
        };
        held.plans.insert(stage, plan);
        Ok(bytes)
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

    /// Keeps an end that brings the owner a result until the query ends, if there is room.
    pub(super) fn keep_copy(&mut self, id: OutputId, state: &cluster::TaskState) {
        let bytes = result_bytes(state);
        let (Some(State::Finished(finished)), Some(held)) =
            (&state.state, self.queries.get_mut(&id.query))
        else {
            return;
        };
        if bytes == 0 || self.copied + bytes > COPIES_BYTES {
            return;
        }
        let finished = cluster::Finished {
            inline_result: finished.inline_result.clone(),
            ..output_alone(state)
        };
        let copy = task_state(id, State::Finished(finished));
        self.copied += bytes;
        if let Some(former) = held.copies.insert(id, copy) {
            self.copied -= result_bytes(&former);
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
                let now = attempt.progress.running();
                let started = attempt.progress.started.load(Ordering::Relaxed);
                if started && attempt.reported.as_ref() != Some(&now) {
                    attempt.reported = Some(now);
                    states.push(task_state(*id, State::Running(now)));
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

/// Of a finished attempt what an inventory says: how it ran was told with its end.
fn output_alone(state: &cluster::TaskState) -> cluster::Finished {
    let output = match &state.state {
        Some(State::Finished(finished)) => finished.output.clone(),
        _ => None,
    };
    cluster::Finished {
        output,
        ..cluster::Finished::default()
    }
}

/// How much of a result a state brings along.
fn result_bytes(state: &cluster::TaskState) -> usize {
    match &state.state {
        Some(State::Finished(finished)) => finished.inline_result.as_ref().map_or(0, Bytes::len),
        _ => 0,
    }
}
