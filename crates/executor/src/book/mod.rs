//! The book: what this executor knows of queries, their owners, and who has been told what.
//!
//! Plain state behind one short lock, without I/O: commands are checked and noted here, then carried
//! out by [`crate::command`]. A check and what follows from it are one call; where something lies
//! between the two, as with a launch, the epoch is checked again. Three parts:
//!
//! - [`held`]: per query the highest epoch, its owner, plans, live attempts, finished outputs, and copies
//!   of results that went to the owner;
//! - [`outbox`]: task states, numbered, kept until the query's owner acknowledges them;
//! - [`links`]: the attached schedulers, and what is still to be said to each.
//!
//! ```text
//!  command ─► admit (epoch, owner) ─► plan, begin (epoch) / cancel / release / end
//!  attempt ─► complete ─► outbox ─► the link of the query's owner ─► acknowledge
//!                            └── kept while no owner is attached, told on attach or takeover
//! ```

mod commands;
mod ended;
mod held;
mod links;
mod live;
mod outbox;

use std::time::Instant;

use paceline_model::{Epoch, OutputId, QueryId, SchedulerId};
use paceline_proto::{attempt_ref, cluster, query_bytes};
use tokio_util::sync::CancellationToken;

pub(crate) use held::PlanProblem;
pub(crate) use links::{Link, LinkId};
pub(crate) use live::{Begin, LiveAttempt, Progress};

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
