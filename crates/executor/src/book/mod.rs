//! The book: what this executor knows of queries, their owners, and who has been told what.
//!
//! Plain state behind one short lock, without I/O: commands are checked and noted here, then carried
//! out by [`crate::command`]. Three parts:
//!
//! - [`held`]: per query the highest epoch, its owner, plans, live attempts, finished outputs, and copies
//!   of results that went to the owner;
//! - [`outbox`]: task states, numbered, kept until the query's owner acknowledges them;
//! - [`links`]: the attached schedulers, and what is still to be said to each.
//!
//! ```text
//!  command ─► admit (epoch, owner) ─► begin / cancel / release / end
//!  attempt ─► complete ─► outbox ─► the link of the query's owner ─► acknowledge
//!                            └── kept while no owner is attached, told on attach or takeover
//! ```

mod ended;
mod held;
mod links;
mod outbox;

use std::time::{Duration, Instant};

use paceline_model::{Epoch, OutputId, QueryId, SchedulerId, StageId};
use paceline_proto::{attempt_ref, cluster, query_bytes};
use tokio_util::sync::CancellationToken;

pub(crate) use held::{Begin, LiveAttempt, PlanProblem, Progress};
pub(crate) use links::{Link, LinkId};

use bytes::Bytes;
use ended::Ended;
use held::Held;
use links::Links;
use outbox::Outbox;

/// Why a command was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The speaker is not attached (any more).
    Detached,
    /// A later owner has spoken, in this epoch.
    StaleEpoch(Epoch),
    /// Another scheduler owns the query in this very epoch.
    NotOwner,
    /// The query has ended.
    Ended,
}

impl Refusal {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Refusal::Detached => "detached",
            Refusal::StaleEpoch(_) => "stale_epoch",
            Refusal::NotOwner => "not_owner",
            Refusal::Ended => "ended",
        }
    }
}

/// How an attempt ended, for the book.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) id: OutputId,
    /// The serial that the attempt was begun with.
    pub(crate) serial: u64,
    pub(crate) state: cluster::task_state::State,
    /// Whether the output store keeps an output of it.
    pub(crate) holds_output: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Book {
    held: Held,
    ended: Ended,
    outbox: Outbox,
    links: Links,
}

impl Book {
    // ---- links ------------------------------------------------------------------------------

    /// Notes that a scheduler is attached. What its queries have to say is told on the new link;
    /// an older link to the same scheduler is closed.
    pub(crate) fn attach(&mut self, scheduler: SchedulerId) -> Link {
        self.held.owner_attached(&scheduler);
        let numbers: Vec<u64> = self
            .outbox
            .iter()
            .filter(|(_, query, _)| self.owner(*query) == Some(&scheduler))
            .map(|(number, _, _)| number)
            .collect();
        let link = self.links.attach(scheduler, numbers);
        self.links.wake_all();
        link
    }

    pub(crate) fn detach(&mut self, link: LinkId, now: Instant) {
        if let Some(scheduler) = self.links.detach(link) {
            self.held.owner_detached(&scheduler, now);
            // The others are told that the stream is gone: it may be all that shows a death.
            self.links.wake_all();
        }
    }

    pub(crate) fn is_attached(&self, scheduler: &SchedulerId) -> bool {
        self.links.of(scheduler).is_some()
    }

    pub(crate) fn attached(&self) -> Vec<SchedulerId> {
        self.links.schedulers()
    }

    /// Lets every link look whether it has something to say.
    pub(crate) fn wake_all(&self) {
        self.links.wake_all();
    }

    /// Takes what is to be said on a link; with `progress`, also how far its running attempts are.
    /// States carry the highest epoch of their query, so that an owner sees its own.
    pub(crate) fn outgoing(&mut self, link: LinkId, progress: bool) -> Vec<cluster::TaskState> {
        let Some(link) = self.links.get_mut(link) else {
            return Vec::new();
        };
        let scheduler = link.scheduler.clone();
        let numbers = std::mem::take(&mut link.unsent);
        let mut states = std::mem::take(&mut link.passing);
        states.extend(
            numbers
                .into_iter()
                .filter_map(|number| self.outbox.get(number).cloned()),
        );
        if progress {
            states.extend(self.held.progress(&scheduler));
        }
        for state in &mut states {
            if let Ok(id) = state.output_id()
                && let Some(epoch) = self.epoch(id.query)
            {
                state.epoch = epoch.0;
            }
        }
        states
    }

    // ---- commands ---------------------------------------------------------------------------

    /// Checks the right to command a query, and notes a new owner. A query that was unknown is
    /// noted as well, so that its epoch fences from now on.
    pub(crate) fn admit(
        &mut self,
        link: LinkId,
        query: QueryId,
        epoch: Epoch,
    ) -> Result<(), Refusal> {
        let scheduler = match self.links.get_mut(link) {
            Some(link) => link.scheduler.clone(),
            None => return Err(Refusal::Detached),
        };
        if self.ended.epoch(query).is_some_and(|ended| epoch <= ended) {
            return Err(Refusal::Ended);
        }
        let former = self.held.owner(query).cloned();
        let taken_over = self.held.admit(query, epoch, &scheduler)?;
        if taken_over {
            self.tell_former_owner(query, epoch, former.as_ref());
            self.tell_new_owner(query);
        }
        Ok(())
    }

    /// A former owner that is still attached may not know that it is one: it would wait for states
    /// that others are told.
    fn tell_former_owner(&mut self, query: QueryId, epoch: Epoch, former: Option<&SchedulerId>) {
        if let Some(former) = former
            && let Some(link) = self.links.of_mut(former)
        {
            link.held.push(cluster::HeldQuery {
                query: query_bytes(query),
                epoch: epoch.0,
                ..cluster::HeldQuery::default()
            });
            link.wake.notify_one();
        }
    }

    /// Notes that the scheduler adopted a query, and what it is to be told of it: all that is held,
    /// and the highest epoch seen. Gives the tokens of what goes if the query was planned afresh.
    pub(crate) fn adopt(
        &mut self,
        link: LinkId,
        query: QueryId,
        epoch: Epoch,
        afresh: bool,
    ) -> Result<Vec<CancellationToken>, Refusal> {
        let admitted = self.admit(link, query, epoch);
        let dropped = match (&admitted, afresh) {
            (Ok(()), true) => self.clear(query),
            _ => Vec::new(),
        };
        let mut held = match admitted {
            Ok(()) => self.held.of_query(query),
            Err(_) => None,
        }
        .unwrap_or_else(|| cluster::HeldQuery {
            query: query_bytes(query),
            epoch: self.epoch(query).map_or(0, |epoch| epoch.0),
            ..cluster::HeldQuery::default()
        });
        self.add_unheard(query, &mut held);
        if let Some(link) = self.links.get_mut(link) {
            if afresh && admitted.is_ok() {
                // What a new owner is told as a matter of course is of the former plan.
                link.passing.retain(|state| state.query != held.query);
            }
            link.held.push(held);
            link.wake.notify_one();
        }
        admitted.map(|()| dropped)
    }

    /// Takes what is to be said of queries that were adopted by the scheduler of a link.
    pub(crate) fn adopted(&mut self, link: LinkId) -> Vec<cluster::HeldQuery> {
        let link = self.links.get_mut(link);
        link.map(|link| std::mem::take(&mut link.held))
            .unwrap_or_default()
    }

    /// A new owner is told everything: it may know nothing of what its predecessor learned.
    fn tell_new_owner(&mut self, query: QueryId) {
        for id in self.held.finished(query) {
            if !self.outbox.has(&id)
                && let Some(state) = self.held.finished_state(&id)
            {
                self.outbox.put(query, state);
            }
        }
        let numbers = self.outbox.numbers_of(query);
        let live = self.held.live_states(query);
        if let Some(owner) = self.held.owner(query)
            && let Some(link) = self.links.of_mut(owner)
        {
            link.unsent.extend(numbers);
            link.passing.extend(live);
            link.wake.notify_one();
        }
    }

    /// The plan of a stage: the one kept here, or the one sent if there is none yet.
    pub(crate) fn plan(
        &mut self,
        query: QueryId,
        stage: StageId,
        sent: Option<Bytes>,
    ) -> Result<Bytes, PlanProblem> {
        self.held.plan(query, stage, sent)
    }

    /// Forgets the attempts, outputs and plans of a query whose new owner planned it afresh.
    pub(crate) fn clear(&mut self, query: QueryId) -> Vec<CancellationToken> {
        self.outbox.drop_query(query);
        self.held.clear(query)
    }

    /// Notes an attempt as live. One that finished before is told again instead.
    pub(crate) fn begin(&mut self, id: OutputId, attempt: LiveAttempt) -> Begin {
        let begin = self.held.begin(id, attempt);
        if matches!(begin, Begin::Finished)
            && !self.outbox.has(&id)
            && let Some(state) = self.held.finished_state(&id)
        {
            self.put(id.query, state);
        }
        begin
    }

    /// The token that stops a live attempt.
    pub(crate) fn cancel_token(&self, id: &OutputId) -> Option<CancellationToken> {
        self.held.cancel_token(id)
    }

    /// Whether the attempt's output is held, or its end not acknowledged yet.
    pub(crate) fn has_ended(&self, id: &OutputId) -> bool {
        self.held.finished_state(id).is_some() || self.outbox.has(id)
    }

    /// Notes that an output is gone.
    pub(crate) fn release(&mut self, id: &OutputId) {
        self.held.release(id);
    }

    /// Ends a query: nothing of it is held from now on. Gives the tokens of its live attempts.
    pub(crate) fn end(
        &mut self,
        link: LinkId,
        query: QueryId,
        epoch: Epoch,
        now: Instant,
    ) -> Result<Vec<CancellationToken>, Refusal> {
        self.admit(link, query, epoch)?;
        let owner = self.held.owner(query).cloned();
        let live = self.held.remove(query);
        self.outbox.drop_query(query);
        if let Some(owner) = owner {
            self.ended.note(query, epoch, owner, now);
        }
        Ok(live)
    }

    /// Drops what nobody has owned since `ttl`, and forgets old endings.
    pub(crate) fn sweep(
        &mut self,
        now: Instant,
        ttl: Duration,
    ) -> Vec<(QueryId, Vec<CancellationToken>)> {
        for query in self.ended.expire(now) {
            self.outbox.drop_query(query);
        }
        let orphans = self.held.orphans(now, ttl);
        orphans
            .into_iter()
            .map(|query| {
                self.outbox.drop_query(query);
                (query, self.held.remove(query))
            })
            .collect()
    }

    // ---- states -----------------------------------------------------------------------------

    /// Notes the end of an attempt and tells the owner. False if nobody wants the output any more:
    /// then it has to be released.
    pub(crate) fn complete(&mut self, completion: Completion) -> bool {
        let Completion {
            id,
            serial,
            state,
            holds_output,
        } = completion;
        if !self.held.complete(&id, serial) {
            // Of an attempt that another one of the same name replaced, nothing is of interest; of an
            // ended query, that the attempt has stopped, in whichever way.
            if !self.held.knows(id.query) && self.ended.epoch(id.query).is_some() {
                let stopped = cluster::task_state::State::Cancelled(cluster::Cancelled {});
                self.put(id.query, task_state(id, stopped));
            }
            return false;
        }
        let state = task_state(id, state);
        if holds_output {
            self.held.keep_finished(id, &state);
        } else {
            self.held.keep_copy(id, &state);
        }
        self.put(id.query, state);
        true
    }

    /// Tells a query's owner a state, as soon as it is attached.
    pub(crate) fn tell(&mut self, id: OutputId, state: cluster::task_state::State) {
        self.put(id.query, task_state(id, state));
    }

    /// Says something once to whoever is at the other end of a link, owner or not.
    pub(crate) fn answer(&mut self, link: LinkId, id: OutputId, state: cluster::task_state::State) {
        if let Some(link) = self.links.get_mut(link) {
            link.passing.push(task_state(id, state));
            link.wake.notify_one();
        }
    }

    /// Drops states that their query's owner has acknowledged. What a former owner acknowledges
    /// counts for nothing: the present one may not have heard it.
    pub(crate) fn acknowledge(&mut self, link: LinkId, numbers: &[u64]) {
        let Some(scheduler) = self.links.get_mut(link).map(|link| link.scheduler.clone()) else {
            return;
        };
        for &number in numbers {
            let query = self.outbox.query_of(number);
            if query.is_some_and(|query| self.owner(query) == Some(&scheduler)) {
                self.outbox.remove(number);
            }
        }
    }

    fn put(&mut self, query: QueryId, state: cluster::TaskState) {
        let number = self.outbox.put(query, state);
        let owner = self.held.owner(query).or_else(|| self.ended.owner(query));
        if let Some(owner) = owner
            && let Some(link) = self.links.of_mut(owner)
        {
            link.unsent.push(number);
            link.wake.notify_one();
        }
    }

    // ---- questions --------------------------------------------------------------------------

    fn owner(&self, query: QueryId) -> Option<&SchedulerId> {
        self.held.owner(query).or_else(|| self.ended.owner(query))
    }

    fn epoch(&self, query: QueryId) -> Option<Epoch> {
        self.held.epoch(query).or_else(|| self.ended.epoch(query))
    }

    /// All that is held, for a `Hello`. An attempt whose end nobody acknowledged and which left no
    /// output still counts as running: its owner is about to be told, and must not take it for lost.
    pub(crate) fn inventory(&self) -> cluster::Inventory {
        let mut inventory = self.held.inventory();
        for held in &mut inventory.queries {
            if let Ok(query) = paceline_proto::query_id(&held.query) {
                self.add_unheard(query, held);
            }
        }
        inventory
    }

    fn add_unheard(&self, query: QueryId, held: &mut cluster::HeldQuery) {
        let unheard = self.outbox.attempts_of(query);
        let unheard = unheard.filter(|id| self.held.finished_state(id).is_none());
        held.running.extend(unheard.map(attempt_ref));
    }

    pub(crate) fn live_attempts(&self) -> usize {
        self.held.live_attempts()
    }

    pub(crate) fn queries(&self) -> usize {
        self.held.queries()
    }

    pub(crate) fn unacknowledged(&self) -> usize {
        self.outbox.len()
    }

    /// Whether nothing runs, no output is held and no owner has to hear anything any more. The last
    /// confirmations of ended queries do not count: nobody depends on them.
    pub(crate) fn is_quiet(&self) -> bool {
        self.held.is_quiet()
            && !self
                .outbox
                .iter()
                .any(|(_, query, _)| self.held.knows(query))
    }

    /// The tokens of all live attempts, to stop them.
    pub(crate) fn all_tokens(&self) -> Vec<CancellationToken> {
        self.held.all_tokens()
    }
}

/// The wire form of a state, not numbered and without an epoch: that is added when it is sent.
fn task_state(id: OutputId, state: cluster::task_state::State) -> cluster::TaskState {
    let attempt = attempt_ref(id);
    cluster::TaskState {
        number: 0,
        query: query_bytes(id.query),
        epoch: 0,
        stage: attempt.stage,
        task: attempt.task,
        attempt: attempt.attempt,
        state: Some(state),
    }
}

#[cfg(test)]
mod tests;
