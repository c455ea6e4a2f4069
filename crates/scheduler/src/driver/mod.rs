//! The core under its lock, with what its actions need.
//!
//! - [`acting`]: what the core wants, carried out;
//! - [`adopting`]: queries taken over, until executors have said what they hold of them;
//! - [`clients`]: records, statuses, cancels, and how long things are kept;
//! - [`executors`]: what executors say;
//! - [`place`]: places for queries that are being made durable.

mod acting;
#[cfg(test)]
mod adopted;
mod adopting;
mod clients;
#[cfg(test)]
mod counted;
mod executors;
#[cfg(test)]
mod forgotten;
mod place;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use paceline_core::{Core, Event, Now};
use paceline_model::{ByteSize, Epoch, LostOutput, QueryId, SchedulerId};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::identity::Identity;
use crate::links::Links;
use crate::metrics::SchedulerMetrics;
use crate::moment;
use crate::news::Newsroom;
use crate::record::QueryRecord;
use crate::scribe::Scribe;
use crate::shelf::{Keep, Shelf};
use crate::written;
use adopting::Adopting;
pub(crate) use clients::Cancelling;

/// Drives all queries of this scheduler. Shared by everything that has something to say.
///
/// The lock is never held across an await; everything done under it is quick.
#[derive(Debug)]
pub(crate) struct Driver {
    state: Mutex<State>,
    started: Instant,
    /// When the core wants to hear of time.
    wake: watch::Sender<Option<Instant>>,
    pub(crate) identity: Identity,
    pub(crate) scribe: Scribe,
    pub(crate) newsroom: Newsroom,
    pub(crate) metrics: SchedulerMetrics,
}

struct State {
    core: Core,
    links: Links,
    shelf: Shelf,
    adopting: BTreeMap<QueryId, Adopting>,
    inline_limit: u64,
    linger: Duration,
    next_link: u64,
    /// How many queries were given a place and are not submitted yet.
    promised: usize,
    /// Whether this scheduler has given its queries away for good.
    is_over: bool,
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) identity: Identity,
    pub(crate) core: Core,
    pub(crate) scribe: Scribe,
    pub(crate) newsroom: Newsroom,
    pub(crate) keep: Keep,
    /// Results of a task up to this size come back with its final state.
    pub(crate) inline_limit: ByteSize,
    /// A query that ends sooner is never journaled.
    pub(crate) linger: Duration,
    pub(crate) metrics: SchedulerMetrics,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        Driver {
            state: Mutex::new(State {
                core: parts.core,
                links: Links::default(),
                shelf: Shelf::new(parts.keep),
                adopting: BTreeMap::new(),
                inline_limit: parts.inline_limit.0,
                linger: parts.linger,
                next_link: 0,
                promised: 0,
                is_over: false,
            }),
            started: Instant::now(),
            wake: watch::Sender::new(None),
            identity: parts.identity,
            scribe: parts.scribe,
            newsroom: parts.newsroom,
            metrics: parts.metrics,
        }
    }

    /// Who this scheduler is at present.
    pub(crate) fn me(&self) -> SchedulerId {
        self.identity.id()
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The core's clock, a given while from now.
    pub(crate) fn now_after(&self, delay: Duration) -> Now {
        Now(self.started.elapsed()).after(delay)
    }

    /// Tells the core of an event and does what it wants.
    pub(crate) fn apply(&self, event: Event) {
        let mut state = self.state.lock();
        self.apply_locked(&mut state, event);
    }

    /// A part of a result could not be read. False if the query is not this scheduler's any more, so that
    /// nobody here makes it again.
    pub(crate) fn result_lost(&self, query: QueryId, lost: LostOutput) -> bool {
        let mut state = self.state.lock();
        let here = state.core.status(query).is_some();
        if here {
            let lost = vec![lost];
            self.apply_locked(&mut state, Event::ResultLost { query, lost });
        }
        here
    }

    fn apply_locked(&self, state: &mut State, event: Event) {
        let actions = state.core.handle(event, Now(self.started.elapsed()));
        for action in actions {
            self.perform(state, action);
        }
        self.metrics.observe(&state.core, state.links.len());
    }

    /// Starts a query as [`submit`](Self::submit) does, unless it was; gives the record back if this
    /// scheduler is not `me` any more.
    pub(crate) fn submit_as(
        &self,
        me: &SchedulerId,
        record: QueryRecord,
        deadline: Option<Now>,
    ) -> Result<(), Box<QueryRecord>> {
        // The id changes under this lock.
        let mut state = self.state.lock();
        if self.me() != *me {
            return Err(Box::new(record));
        }
        // Whoever asked may have asked again, and been served, before this was seen through.
        let there = state.shelf.get(&record.query);
        let driven = there.is_some_and(|there| !there.is_moved());
        if !driven && !state.core.has_ended(record.query) {
            self.submit_locked(&mut state, record, deadline);
        }
        Ok(())
    }

    /// Starts a query. Its record is there before anything of it can happen, and goes into the
    /// journal in its own time.
    pub(crate) fn submit(&self, record: QueryRecord, deadline: Option<Now>) {
        self.submit_locked(&mut self.state.lock(), record, deadline);
    }

    fn submit_locked(&self, state: &mut State, mut record: QueryRecord, deadline: Option<Now>) {
        if state.is_over {
            // It was being planned when the others were given away.
            record.move_away();
            state.shelf.insert(record);
            return;
        }
        let query = record.query;
        record.linger_until = Instant::now() + state.linger;
        let graph = record.plan.as_ref().map(|plan| Arc::clone(&plan.graph));
        let promised = record.submitted;
        if !promised && let Some(statement) = written::statement(&record) {
            let accepted = written::accepted(query, statement);
            self.scribe.step(query, accepted, state.linger);
        }
        state.shelf.insert(record);
        if let Some(graph) = graph {
            let event = Event::Submit {
                query,
                graph,
                epoch: Epoch::default(),
                deadline,
                promised,
            };
            self.apply_locked(state, event);
        }
    }

    /// This scheduler owns nothing any more. Every stream to executors ends; who waits for a query is
    /// sent to its next owner. Whoever attaches next meets the id that `identity` gives by then.
    pub(crate) fn fence(&self, renew: impl FnOnce(&Identity)) {
        let mut state = self.state.lock();
        state.core.fence();
        state.links = Links::default();
        state.adopting.clear();
        for record in state.shelf.iter_mut() {
            record.move_away();
        }
        renew(&self.identity);
        self.wake.send_replace(None);
        self.metrics.observe(&state.core, 0);
    }

    /// This scheduler owns nothing any more, and will own nothing again: it is shutting down.
    pub(crate) fn close(&self) {
        self.state.lock().is_over = true;
        self.fence(|_| {});
    }

    /// Sends the core its ticks, for as long as it is polled.
    pub(crate) async fn keep_time(&self) {
        let mut wake = self.wake.subscribe();
        loop {
            let at = *wake.borrow_and_update();
            // Cancel safety: both branches hold nothing; a change that is missed here is seen by
            // the borrow above.
            tokio::select! {
                changed = wake.changed() => if changed.is_err() { return },
                () = moment::at(at) => {
                    self.wake.send_if_modified(|due| {
                        let fired = *due == at;
                        if fired { *due = None; }
                        fired
                    });
                    self.apply(Event::Tick);
                }
            }
        }
    }
}
