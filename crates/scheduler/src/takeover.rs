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

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use paceline_core::Now;
use paceline_core::ownership::{
    Closed, Entry, Evidence, Ownership, OwnershipAction, OwnershipEvent, Step, Suspicion,
};
use paceline_model::{Epoch, Invariant, QueryId, SchedulerId};
use paceline_proto::state::Known;
use paceline_store::{Book, Replayed};
use tokio::sync::{mpsc, watch};

use crate::conclusion::conclude_in_time;
use crate::journaling::Journaling;
use crate::moment::at;
use crate::shared::Shared;
use crate::steps::{self, Stepped};
use crate::writing::remove_leftovers;
use crate::written;

/// Something that bears on who owns what.
#[derive(Debug)]
pub(crate) enum News {
    /// Something was noticed about peers.
    Evidence(Evidence),
    /// All beacons were looked at: for how long each peer has been silent.
    Beacons(Vec<(SchedulerId, Duration)>),
    /// A scheduler took its beacon away and said nothing of its journal.
    Vanished,
    /// That journal is over, or has to be.
    Seal(SchedulerId),
    /// A journal was sealed and read, by whomever; none if the store could not tell.
    Sealed(SchedulerId, Option<Box<Replayed>>),
    /// A step that this scheduler decided on, under that id, came to its end.
    Stepped(SchedulerId, Step, Stepped),
    /// A query that no journal holds is to be run for a client that still wants it.
    Afresh(QueryId, Epoch, Box<Known>),
    /// A query of this scheduler needs no owner any more.
    Over {
        /// The query.
        query: QueryId,
    },
    /// A query that runs by itself came to its end.
    Ended {
        /// The query.
        query: QueryId,
    },
    /// An attempt of a query that wrote where others look, and failed, has stopped.
    Leftovers {
        /// The query.
        query: QueryId,
    },
    /// An executor has seen a later owner of a query of this scheduler: its journal may be sealed.
    Doubt,
    /// The own journal was written to, so it is open.
    Trust,
    /// This scheduler's journal is over.
    Closed(SchedulerId, Closed),
}

/// Takes news, and tells when something has changed. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Newsroom {
    news: mpsc::UnboundedSender<News>,
    changed: Arc<watch::Sender<u64>>,
}

impl Newsroom {
    /// A newsroom, and where its news come out.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<News>) {
        let (news, inbox) = mpsc::unbounded_channel();
        let changed = Arc::new(watch::Sender::new(0));
        (Newsroom { news, changed }, inbox)
    }

    /// Passes news on. Never waits: it happens under the driver's lock, and each piece is small.
    pub(crate) fn tell(&self, news: News) {
        // The task ends with the scheduler; what is told after that is told to nobody.
        let _ = self.news.send(news);
    }

    /// Sees every change of who is alive, sealed, or owner of something.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

/// A query on its way to being this scheduler's own.
#[derive(Debug)]
struct Coming {
    known: Known,
    afresh: bool,
    /// Since when its former owner was suspect.
    since: Instant,
    /// Since when it has been on its way.
    decided: Instant,
}

/// The task.
pub(crate) struct Takeover {
    shared: Arc<Shared>,
    journaling: Journaling,
    started: Instant,
    ownership: Ownership,
    suspicion: Suspicion,
    /// What sealed journals that are not drained held.
    sealed: BTreeMap<SchedulerId, Book>,
    sealing: BTreeSet<SchedulerId>,
    /// Since when something has spoken against each peer.
    suspect: BTreeMap<SchedulerId, Instant>,
    coming: BTreeMap<(QueryId, Epoch), Coming>,
    doubting: bool,
    wake: Option<Instant>,
}

impl Takeover {
    pub(crate) fn new(shared: Arc<Shared>, journaling: Journaling) -> Self {
        let me = shared.driver.me();
        Takeover {
            ownership: Ownership::new(me, journaling.patience),
            suspicion: Suspicion::new(journaling.suspicion),
            shared,
            journaling,
            started: Instant::now(),
            sealed: BTreeMap::new(),
            sealing: BTreeSet::new(),
            suspect: BTreeMap::new(),
            coming: BTreeMap::new(),
            doubting: false,
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
            News::Trust => self.doubting = false,
            News::Closed(journal, why) => self.closed(&journal, &why),
        }
    }

    // ---- who is alive ---------------------------------------------------------------------------

    fn evidence(&mut self, evidence: Evidence) {
        let me = self.shared.driver.me();
        // Executors notice late that a stream to one that is over has ended.
        let about = evidence.scheduler();
        if about.is_some_and(|about| self.shared.membership.is_over(about)) {
            return;
        }
        match &evidence {
            Evidence::Alive { scheduler } => {
                self.suspect.remove(scheduler);
            }
            // A beacon is looked at more than once in a beat: that it stands still says something only
            // when it does so for longer.
            Evidence::Still { scheduler, silence }
                if *silence >= self.journaling.suspicion.takeover_after / 2 =>
            {
                let since = Instant::now().checked_sub(*silence);
                let since = since.unwrap_or(self.started);
                self.suspect.entry(scheduler.clone()).or_insert(since);
            }
            Evidence::Refused { scheduler }
            | Evidence::Stream {
                scheduler,
                held: false,
                ..
            } => {
                self.suspect
                    .entry(scheduler.clone())
                    .or_insert_with(Instant::now);
            }
            _ => {}
        }
        let dead = self.suspicion.handle(evidence, self.now());
        for journal in dead.into_iter().filter(|dead| *dead != me) {
            self.seal(journal);
        }
    }

    fn beacons(&mut self, peers: Vec<(SchedulerId, Duration)>) {
        for (scheduler, silence) in peers {
            if self.sealed.contains_key(&scheduler) {
                continue;
            }
            self.evidence(if silence.is_zero() {
                Evidence::Alive { scheduler }
            } else {
                Evidence::Still { scheduler, silence }
            });
        }
        self.members();
    }

    fn members(&mut self) {
        let mut live = self.suspicion.live();
        live.insert(self.shared.driver.me());
        self.tell_ownership(OwnershipEvent::Members { live });
    }

    // ---- sealing --------------------------------------------------------------------------------

    /// Journals that nobody alive writes any more are as good as sealed.
    fn look_for_journals(&self) {
        let shared = Arc::clone(&self.shared);
        let journals = self.journaling.journals.clone();
        self.shared.spawn_until_stopped(async move {
            for journal in steps::ownerless(&shared, &journals).await {
                shared.driver.newsroom.tell(News::Seal(journal));
            }
        });
    }

    fn seal(&mut self, journal: SchedulerId) {
        let me = self.shared.driver.me();
        let known = journal == me || self.sealed.contains_key(&journal);
        if known || self.shared.is_draining() || !self.sealing.insert(journal.clone()) {
            return;
        }
        tracing::warn!(%journal, "taking over: sealing the journal");
        let (shared, journaling) = (Arc::clone(&self.shared), self.journaling.clone());
        self.shared.spawn_until_stopped(async move {
            let found = steps::seal(&journaling, &journal, &me).await;
            let found = match found {
                Ok(found) => Some(Box::new(found)),
                Err(error) => {
                    tracing::warn!(%journal, %error, "cannot seal the journal yet");
                    steps::pause().await;
                    None
                }
            };
            shared.driver.newsroom.tell(News::Sealed(journal, found));
        });
    }

    fn found(&mut self, journal: SchedulerId, found: Option<Box<Replayed>>) {
        self.sealing.remove(&journal);
        let Some(found) = found else {
            // Suspicion says so again as long as it lasts; a journal without a beacon is asked for
            // here alone.
            if !self.shared.membership.knows(&journal) {
                self.seal(journal);
            }
            return;
        };
        self.shared.membership.gone_for_good(&journal);
        let gone = Evidence::Gone {
            scheduler: journal.clone(),
        };
        self.suspicion.handle(gone, self.now());
        self.shared.tell_members();
        self.members();
        if found.drained {
            self.suspect.remove(&journal);
            self.clear(journal);
        } else {
            let standing = found.book.standing().clone();
            self.sealed.insert(journal.clone(), found.book);
            self.tell_ownership(OwnershipEvent::Sealed { journal, standing });
        }
        self.shared.driver.newsroom.change();
    }

    /// Whoever drained the journal may have died before it took everything away.
    fn clear(&self, journal: SchedulerId) {
        let (shared, journaling) = (Arc::clone(&self.shared), self.journaling.clone());
        self.shared.spawn_until_stopped(async move {
            steps::clear(&shared, &journaling, &journal).await;
        });
    }

    // ---- adopting -------------------------------------------------------------------------------

    fn tell_ownership(&mut self, event: OwnershipEvent) {
        for action in self.ownership.handle(event, self.now()) {
            match action {
                OwnershipAction::Take(step) => self.take(step),
                OwnershipAction::Own { query, epoch } => self.own(query, epoch),
                OwnershipAction::Lost { query, epoch, to } => {
                    tracing::info!(%query, %epoch, %to, "another scheduler adopted the query");
                    self.coming.remove(&(query, epoch));
                    self.shared.driver.scribe.forget(query);
                    self.shared.driver.newsroom.change();
                }
                OwnershipAction::Conflict { query, epoch, by } => {
                    let seen = format!(
                        "the claim on query {query} at epoch {epoch} named {} and then {}",
                        by[0], by[1]
                    );
                    let metrics = &self.shared.driver.metrics;
                    metrics.violated(Invariant::OneOwner, &seen);
                }
                OwnershipAction::WakeAt(at) => self.wake = Some(self.started + at.0),
            }
        }
    }

    fn take(&mut self, step: Step) {
        let mut record = None;
        if let Step::Adopt { from, query, epoch } = &step {
            let book = self.sealed.get(from);
            let Some(held) = book.and_then(|book| book.held(*query)) else {
                let seen =
                    format!("query {query} is to be adopted, and '{from}' says nothing of it");
                let metrics = &self.shared.driver.metrics;
                metrics.violated(Invariant::NothingLost, &seen);
                return;
            };
            record = Some(written::adopted(*query, *epoch, held.known.clone()));
            let coming = Coming {
                known: held.known.clone(),
                afresh: false,
                since: *self.suspect.get(from).unwrap_or(&Instant::now()),
                decided: Instant::now(),
            };
            self.coming.insert((*query, *epoch), coming);
        }
        self.spawn_step(step, record);
    }

    fn spawn_step(&self, step: Step, record: Option<paceline_proto::state::Record>) {
        let shared = Arc::clone(&self.shared);
        let journaling = self.journaling.clone();
        let me = shared.driver.me();
        self.shared.spawn_until_stopped(async move {
            let stepped = steps::take(&shared, &journaling, &me, &step, record).await;
            let news = News::Stepped(me, step, stepped);
            shared.driver.newsroom.tell(news);
        });
    }

    fn stepped(&mut self, step: Step, stepped: Stepped) {
        let event = match (step, stepped) {
            (Step::Adopt { from, query, epoch }, Stepped::Failed)
                if from == self.shared.driver.me() =>
            {
                // Nobody but the client that asks takes this step again.
                self.coming.remove(&(query, epoch));
                self.shared.driver.newsroom.change();
                return;
            }
            (step, Stepped::Failed) => OwnershipEvent::Failed { step },
            (Step::Adopt { query, epoch, .. }, Stepped::Done) => OwnershipEvent::Recorded {
                entry: Entry::Owned { query, epoch },
            },
            (
                Step::ReadClaim { query, epoch } | Step::Claim { query, epoch },
                Stepped::Claimed(by),
            ) => OwnershipEvent::Claim { query, epoch, by },
            (Step::Drain { journal }, Stepped::Done) => {
                tracing::info!(%journal, "every query of the journal has another owner or has ended");
                self.sealed.remove(&journal);
                self.suspect.remove(&journal);
                self.shared.driver.newsroom.change();
                OwnershipEvent::Drained { journal }
            }
            (step, _) => OwnershipEvent::Failed { step },
        };
        self.tell_ownership(event);
    }

    /// The query is this scheduler's own.
    fn own(&mut self, query: QueryId, epoch: Epoch) {
        let Some(coming) = self.coming.remove(&(query, epoch)) else {
            // Of one that leaves, others adopt what it was about to.
            if !self.shared.is_draining() {
                let seen = format!("query {query} was adopted at epoch {epoch} with nothing known");
                let metrics = &self.shared.driver.metrics;
                metrics.violated(Invariant::NothingLost, &seen);
            }
            return;
        };
        let legacy = written::legacy(coming.known);
        let driver = &self.shared.driver;
        driver.metrics.adopted(coming.decided.elapsed());
        let plan = legacy.plan.as_ref();
        let graph = plan.map(|plan| Arc::clone(&plan.graph));
        match graph.map_err(Clone::clone) {
            Ok(graph) => {
                tracing::info!(%query, %epoch, afresh = coming.afresh, "adopted");
                if coming.afresh {
                    driver.adopt_afresh(query, epoch, graph, legacy);
                } else {
                    driver.adopt(query, epoch, graph, legacy);
                    driver.metrics.taken_over(coming.since.elapsed());
                }
            }
            Err(why) => {
                tracing::error!(%query, %epoch, %why, "adopted, and cannot be carried on");
                driver.end_adopted(query, epoch, &why, legacy);
            }
        }
        driver.newsroom.change();
    }

    fn afresh(&mut self, query: QueryId, epoch: Epoch, known: Known) {
        let coming = self.coming.contains_key(&(query, epoch));
        if coming || self.ownership.own().epoch(query).is_some() {
            return;
        }
        let record = written::adopted(query, epoch, known.clone());
        let coming = Coming {
            known,
            afresh: true,
            since: Instant::now(),
            decided: Instant::now(),
        };
        self.coming.insert((query, epoch), coming);
        // The step of an adoption, but from no journal.
        let step = Step::Adopt {
            from: self.shared.driver.me(),
            query,
            epoch,
        };
        self.spawn_step(step, Some(record));
    }

    // ---- the own journal ------------------------------------------------------------------------

    /// Finds out whether the own journal is still open, by writing to it.
    fn doubt(&mut self) {
        if std::mem::replace(&mut self.doubting, true) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.shared.spawn(async move {
            // If it is over, the journal itself says so.
            if shared.driver.scribe.flush().await.is_ok() {
                shared.driver.newsroom.tell(News::Trust);
            }
        });
    }

    fn closed(&mut self, journal: &SchedulerId, why: &Closed) {
        if *journal != self.shared.driver.me() {
            return;
        }
        self.doubting = false;
        self.coming.clear();
        if let Closed::Taken { .. } = why {
            let metrics = &self.shared.driver.metrics;
            metrics.violated(Invariant::OneOwner, &why.to_string());
        }
        if self.shared.is_draining() {
            self.shared.driver.close();
            self.shared.driver.newsroom.change();
            return;
        }
        tracing::warn!(scheduler = %journal, %why, "fenced: going on under a new id");
        self.shared.driver.metrics.fenced();
        let (scribe, journaling) = (&self.shared.driver.scribe, &self.journaling);
        self.shared.driver.fence(|identity| {
            let id = identity.renew();
            scribe.begin(journaling.begin(&self.shared, id));
        });
        // While it was held for dead nobody told it of the catalog.
        self.shared.catalog.doubt();
        let me = self.shared.driver.me();
        self.shared.membership.renew(&self.shared, me.clone());
        self.ownership = Ownership::new(me, self.journaling.patience);
        self.suspicion = Suspicion::new(self.journaling.suspicion);
        self.sealed.clear();
        self.sealing.clear();
        self.wake = None;
        self.look_for_journals();
        self.shared.driver.newsroom.change();
    }
}
