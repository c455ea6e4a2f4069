//! Who the schedulers are: the own beacon, and those of others.

mod contact;
#[cfg(test)]
mod tests;
mod told;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use paceline_model::{Incarnation, SchedulerId};
use paceline_store::{Beacon, Liveness, Members, Roster};
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::beating::beat;
use crate::gone::Gone;
use crate::shared::Shared;
use contact::Contact;

/// Beats after which a scheduler whose beacon stands still is held for gone.
const MISSED_BEATS: u32 = 3;

/// Beats after which a scheduler that did none takes into account that others may hold it for gone. They
/// wait longer, and began to wait later.
const OWN_MISSED_BEATS: u32 = 2;

/// What this scheduler knows of all schedulers, itself included.
#[derive(Debug)]
pub(crate) struct Membership {
    members: Members,
    seen: Mutex<Seen>,
    interval: Duration,
    /// Tells when there is something new about contacts.
    contacts_changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Seen {
    own: Beacon,
    /// Who this scheduler is while it stays apart: its beacon goes on under the id that is over.
    apart: Option<SchedulerId>,
    /// When the last beat under the own id began that came to its end, if there was any.
    beaten: Option<Instant>,
    liveness: Liveness,
    /// Schedulers whose journal is sealed: whatever their beacon says, they own nothing.
    gone: Gone,
    /// Schedulers that had a beacon when it was looked last.
    known: BTreeSet<SchedulerId>,
    /// Whether one of those is forgotten by now.
    vanished: bool,
    /// Schedulers that have ended by themselves, and those that this one was before.
    left: Gone,
    contacts: BTreeMap<SchedulerId, Contact>,
    /// For how long nothing may be heard from a scheduler that this one is in contact with.
    heard_within: Duration,
    /// Whether contact with somebody was missing at a look.
    was_passed_over: bool,
}

impl Membership {
    pub(crate) fn new(members: Members, own: Beacon, interval: Duration) -> Self {
        let liveness = Liveness::new(interval, MISSED_BEATS);
        Membership {
            members,
            seen: Mutex::new(Seen {
                own,
                apart: None,
                beaten: Some(Instant::now()),
                liveness,
                gone: Gone::default(),
                known: BTreeSet::new(),
                vanished: false,
                left: Gone::default(),
                contacts: BTreeMap::new(),
                heard_within: contact::heard_within(interval),
                was_passed_over: false,
            }),
            interval,
            contacts_changed: watch::Sender::new(()),
        }
    }

    /// How far apart beats are.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Makes oneself known and looks around. `begun` is the time at which that began.
    pub(crate) async fn beat(&self, begun: Instant) -> Result<(), paceline_store::StoreError> {
        let shown = self.show().await?;
        self.has_shown(&shown, begun);
        Ok(())
    }

    /// Writes the own beacon and looks around. Returns the id that the beacon has.
    pub(crate) async fn show(&self) -> Result<SchedulerId, paceline_store::StoreError> {
        let own = {
            let mut seen = self.seen.lock();
            seen.own.beat += 1;
            seen.own.clone()
        };
        self.members.beat(&own).await?;
        self.look().await?;
        Ok(own.scheduler)
    }

    /// Notes that a beat under that id, which began at that time, came to its end.
    pub(crate) fn has_shown(&self, id: &SchedulerId, begun: Instant) {
        let seen = &mut *self.seen.lock();
        if seen.own.scheduler == *id {
            seen.beaten = Some(begun);
        }
    }

    /// Whether others may hold this scheduler for gone at that time: it was frozen, the store was away,
    /// or it stays apart. The next beat that succeeds ends that, but for one that is apart.
    pub(crate) fn may_be_missed(&self, at: Instant) -> bool {
        let seen = self.seen.lock();
        let limit = self.interval * OWN_MISSED_BEATS;
        let missed = |beaten: Instant| at.saturating_duration_since(beaten) >= limit;
        seen.apart.is_some() || seen.beaten.is_none_or(missed)
    }

    /// Looks around now.
    pub(crate) async fn look(&self) -> Result<(), paceline_store::StoreError> {
        let roster = self.members.list().await?;
        for unreadable in &roster.unreadable {
            tracing::warn!(%unreadable, "a beacon cannot be read");
        }
        self.observe(&roster, Instant::now());
        Ok(())
    }

    fn observe(&self, roster: &Roster, now: Instant) {
        let seen = &mut *self.seen.lock();
        // Before that is forgotten: it may be about somebody who is gone by now.
        seen.was_passed_over |= seen.is_passed_over(now);
        seen.liveness.observe(roster, now);
        let beacons = roster.beacons.iter();
        seen.known.extend(beacons.map(|b| b.scheduler.clone()));
        let liveness = &seen.liveness;
        let has_beacon = |scheduler: &SchedulerId| liveness.verdict(scheduler).is_some();
        seen.vanished |= !seen.known.iter().all(has_beacon);
        seen.known.retain(has_beacon);
        seen.gone.forget(has_beacon);
        seen.left.forget(has_beacon);
    }

    /// Whether the beacon of a scheduler has gone since this was asked last. Perhaps it left a journal that
    /// nobody was told of; one that was sealed may have begun another, and died before it had a beacon.
    pub(crate) fn take_vanished(&self) -> bool {
        std::mem::take(&mut self.seen.lock().vanished)
    }

    /// Whether a scheduler's journal is known to be sealed.
    pub(crate) fn is_over(&self, scheduler: &SchedulerId) -> bool {
        self.seen.lock().gone.contains(scheduler)
    }

    /// Takes the own beacon away.
    pub(crate) async fn leave(&self) {
        let own = self.seen.lock().own.scheduler.clone();
        if let Err(error) = self.members.remove(&own).await {
            tracing::warn!(%error, "could not remove the beacon; others will see it stand still");
        }
    }

    /// All live schedulers but this one.
    pub(crate) fn peers(&self) -> Vec<Beacon> {
        let seen = self.seen.lock();
        let own = &seen.own.scheduler;
        let live = seen.liveness.live();
        live.filter(|beacon| beacon.scheduler != *own && !seen.gone.contains(&beacon.scheduler))
            .cloned()
            .collect()
    }

    /// The addresses of all schedulers that have a beacon.
    pub(crate) fn addresses(&self) -> HashSet<String> {
        let seen = self.seen.lock();
        let beacons = seen.liveness.live().chain(seen.liveness.gone());
        beacons
            .map(|beacon| beacon.addresses.cluster.clone())
            .collect()
    }

    /// For how long each other scheduler has been silent, but for those that are gone for good.
    pub(crate) fn silences(&self) -> Vec<(SchedulerId, Duration)> {
        let seen = self.seen.lock();
        let all = seen.liveness.live().chain(seen.liveness.gone());
        let others = all.map(|beacon| &beacon.scheduler).filter(|scheduler| {
            **scheduler != seen.own.scheduler && !seen.gone.contains(scheduler)
        });
        let silence = |scheduler: &SchedulerId| seen.liveness.silence(scheduler);
        others
            .map(|scheduler| (scheduler.clone(), silence(scheduler).unwrap_or_default()))
            .collect()
    }

    /// Every other scheduler that has a beacon, or had one a moment ago, and is not gone for good.
    pub(crate) fn present(&self) -> BTreeSet<SchedulerId> {
        let seen = self.seen.lock();
        let own = &seen.own.scheduler;
        let known = seen.known.iter();
        known
            .filter(|scheduler| *scheduler != own && !seen.gone.contains(scheduler))
            .cloned()
            .collect()
    }

    /// Schedulers that are gone for good and have a beacon that stands still: a late beat put it there,
    /// or whoever was to take it away died.
    pub(crate) fn stale(&self) -> Vec<SchedulerId> {
        let seen = self.seen.lock();
        let still = seen.liveness.gone().map(|beacon| &beacon.scheduler);
        still
            .filter(|scheduler| seen.gone.contains(scheduler))
            .cloned()
            .collect()
    }

    /// Whether a scheduler has a beacon and is not gone for good.
    pub(crate) fn knows(&self, scheduler: &SchedulerId) -> bool {
        let seen = self.seen.lock();
        seen.liveness.verdict(scheduler).is_some() && !seen.gone.contains(scheduler)
    }

    /// Whether a scheduler has a beacon that can be true: not with the address of this one.
    pub(crate) fn may_live(&self, scheduler: &SchedulerId) -> bool {
        let seen = self.seen.lock();
        let here = &seen.own.addresses.cluster;
        let beacons = seen.liveness.live().chain(seen.liveness.gone());
        let mut beacons = beacons.filter(|beacon| beacon.scheduler == *scheduler);
        beacons.any(|beacon| beacon.addresses.cluster != *here && !seen.gone.contains(scheduler))
    }

    /// Notes that a scheduler's journal is sealed.
    pub(crate) fn gone_for_good(&self, scheduler: &SchedulerId) {
        self.seen.lock().gone.insert(scheduler.clone());
    }

    /// Schedulers that beat though their journal is sealed: they do not know it yet.
    pub(crate) fn unaware(&self) -> Vec<Beacon> {
        let seen = self.seen.lock();
        let live = seen.liveness.live();
        live.filter(|beacon| seen.gone.contains(&beacon.scheduler))
            .filter(|beacon| beacon.scheduler != seen.own.scheduler)
            .cloned()
            .collect()
    }

    /// Takes away the beacon of a scheduler that is no more.
    pub(crate) async fn remove_beacon(&self, scheduler: &SchedulerId) {
        if let Err(error) = self.members.remove(scheduler).await {
            tracing::warn!(%scheduler, %error, "could not remove the beacon of a scheduler that is gone");
        }
    }

    /// Stays apart under another id: the beacon goes on under the former one, which others know to be
    /// over, so that they neither watch this scheduler nor wait for it, and go on telling it.
    pub(crate) fn stay_apart(&self, id: SchedulerId) {
        let seen = &mut *self.seen.lock();
        seen.apart = Some(id);
        seen.gone.insert(seen.own.scheduler.clone());
    }

    /// Whether this scheduler stays apart.
    pub(crate) fn is_apart(&self) -> bool {
        self.seen.lock().apart.is_some()
    }

    /// Makes oneself known under the id that one has while apart; the beacon of the former one goes.
    pub(crate) fn join(&self, shared: &Arc<Shared>) {
        let former = {
            let seen = &mut *self.seen.lock();
            let Some(id) = seen.apart.take() else { return };
            seen.beaten = None;
            seen.own.beat = 0;
            seen.own.incarnation = Incarnation(Uuid::new_v4());
            let former = std::mem::replace(&mut seen.own.scheduler, id);
            seen.left.insert(former.clone());
            former
        };
        let telling = Arc::clone(shared);
        shared.spawn(async move {
            if let Err(error) = beat(&telling).await {
                tracing::warn!(%error, "the new id is not known yet; the next beat says it again");
            }
            telling.membership.remove_beacon(&former).await;
        });
    }

    /// All live schedulers, this one first.
    pub(crate) fn live(&self) -> Vec<Beacon> {
        let own = {
            let seen = self.seen.lock();
            let present = seen.apart.as_ref().unwrap_or(&seen.own.scheduler);
            Beacon {
                scheduler: present.clone(),
                ..seen.own.clone()
            }
        };
        let mut all = vec![own];
        all.extend(self.peers());
        all
    }

    /// Whether a scheduler is known to be gone.
    pub(crate) fn is_gone(&self, scheduler: &SchedulerId) -> bool {
        self.seen.lock().is_gone(scheduler)
    }
}
