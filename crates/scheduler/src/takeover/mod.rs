//! Who owns what, carried out: looks, seals, records and claims around
//! [`paceline_core::ownership`], and what becomes of a query that is won.
//!
//! ```text
//!   executors, peers, beacons ──evidence──► Suspicion ──► seal ──► what the journal held
//!                                                                        │
//!   driver ◄──own──┐                                                     ▼
//!                  └────── Ownership ◄──how it ended── steps: look, record, claim, drain
//! ```
//!
//! One task decides, from news in the order in which they come; everything that asks the store runs
//! beside it and ends as news. Nothing here is on the path of a query that nobody took over.
//!
//! - [`noticing`]: who is alive;
//! - [`sealing`]: ending the journals of those who are not;
//! - [`adopting`]: what becomes of the queries that they held;
//! - [`fenced`]: when the own journal is over.

mod adopting;
mod fenced;
mod noticing;
mod sealing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use paceline_core::Now;
use paceline_core::ownership::{
    Entry, Ownership, OwnershipEvent, Presence, PresenceEvent, Suspicion,
};
use paceline_model::{Epoch, QueryId, SchedulerId};
use paceline_store::Book;
use tokio::sync::mpsc;

use crate::conclusion::conclude_in_time;
use crate::journaling::Journaling;
use crate::moment::at;
use crate::news::News;
use crate::shared::Shared;
use crate::writing::remove_leftovers;
use adopting::Coming;

/// The task.
pub(crate) struct Takeover {
    shared: Arc<Shared>,
    journaling: Journaling,
    started: Instant,
    ownership: Ownership,
    suspicion: Suspicion,
    presence: Presence,
    /// What sealed journals that are not drained held.
    sealed: BTreeMap<SchedulerId, Book>,
    sealing: BTreeSet<SchedulerId>,
    /// How often in a row each journal could not be sealed.
    unsealed: BTreeMap<SchedulerId, u32>,
    /// Since when something has spoken against each peer.
    suspect: BTreeMap<SchedulerId, Instant>,
    coming: BTreeMap<(QueryId, Epoch), Coming>,
    doubting: bool,
    /// Whether there was another reason to doubt since that began.
    doubted_since: bool,
    wake: Option<Instant>,
}

impl Takeover {
    pub(crate) fn new(shared: Arc<Shared>, journaling: Journaling) -> Self {
        let me = shared.driver.me();
        Takeover {
            ownership: Ownership::new(me, journaling.patience),
            suspicion: Suspicion::new(journaling.suspicion),
            presence: Presence::default(),
            shared,
            journaling,
            started: Instant::now(),
            sealed: BTreeMap::new(),
            sealing: BTreeSet::new(),
            unsealed: BTreeMap::new(),
            suspect: BTreeMap::new(),
            coming: BTreeMap::new(),
            doubting: false,
            doubted_since: false,
            wake: None,
        }
    }

    /// Decides for as long as it is polled.
    pub(crate) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<News>) {
        self.look_for_journals();
        loop {
            let wake = self.wake;
            // Cancel safety: receiving loses nothing when the time comes first.
            tokio::select! {
                news = inbox.recv() => match news {
                    Some(news) => self.note(news),
                    None => return,
                },
                () = at(wake) => {
                    self.wake = None;
                    self.tell_ownership(OwnershipEvent::Tick);
                }
            }
        }
    }

    fn now(&self) -> Now {
        Now(self.started.elapsed())
    }

    fn note(&mut self, news: News) {
        match news {
            News::Evidence(evidence) => self.evidence(evidence),
            News::Beacons(peers) => self.beacons(peers),
            News::Vanished => self.look_for_journals(),
            News::Seal(journal) => self.seal(journal),
            News::Sealed(journal, found) => self.found(journal, found),
            // What a former self of this scheduler began is for whoever sealed its journal.
            News::Stepped(by, ..) if by != self.shared.driver.me() => {}
            News::Stepped(_, step, stepped) => self.stepped(step, stepped),
            News::Afresh(query, epoch, known) => self.afresh(query, epoch, *known),
            News::Over { query } => {
                if self.ownership.own().epoch(query).is_some() {
                    let entry = Entry::Ended { query };
                    self.tell_ownership(OwnershipEvent::Recorded { entry });
                }
            }
            News::Ended { query } => {
                let concluding = conclude_in_time(Arc::clone(&self.shared), query);
                self.shared.spawn_until_stopped(concluding);
            }
            News::Leftovers { query } => {
                let shared = Arc::clone(&self.shared);
                let removing = async move { remove_leftovers(&shared, query).await };
                self.shared.spawn_until_stopped(removing);
            }
            News::Doubt => self.doubt(),
            News::Trust => self.trust(),
            News::Reached => self.attend(PresenceEvent::Reached),
            News::Needed(by) if by != self.shared.driver.me() => {}
            News::Needed(_) => self.attend(PresenceEvent::Needed),
            News::Closed(journal, why) => self.closed(&journal, &why),
        }
    }
}
