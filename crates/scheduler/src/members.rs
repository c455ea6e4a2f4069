//! Who the schedulers are: the own beacon, those of others, and telling executors.

use std::sync::Arc;
use std::time::Instant;

use paceline_frontend::SchedulerStatus;
use paceline_proto::cluster;
use paceline_proto::cluster::from_scheduler::Message;
use paceline_store::{Beacon, Liveness, Members, Roster};
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

use crate::scheduler::Shared;

/// Beats after which a scheduler whose beacon stands still is held for gone.
const MISSED_BEATS: u32 = 3;

/// What this scheduler knows of all schedulers, itself included.
#[derive(Debug)]
pub(crate) struct Membership {
    members: Members,
    seen: Mutex<Seen>,
    interval: std::time::Duration,
}

#[derive(Debug)]
struct Seen {
    own: Beacon,
    liveness: Liveness,
}

impl Membership {
    pub(crate) fn new(members: Members, own: Beacon, interval: std::time::Duration) -> Self {
        let liveness = Liveness::new(interval, MISSED_BEATS);
        Membership {
            members,
            seen: Mutex::new(Seen { own, liveness }),
            interval,
        }
    }

    /// Makes oneself known and looks around.
    pub(crate) async fn beat(&self) -> Result<(), paceline_store::StoreError> {
        let own = {
            let mut seen = self.seen.lock();
            seen.own.beat += 1;
            seen.own.clone()
        };
        self.members.beat(&own).await?;
        self.look().await
    }

    /// Looks around now.
    pub(crate) async fn look(&self) -> Result<(), paceline_store::StoreError> {
        let roster = self.members.list().await?;
        for unreadable in &roster.unreadable {
            tracing::warn!(%unreadable, "a beacon cannot be read");
        }
        self.observe(&roster);
        Ok(())
    }

    fn observe(&self, roster: &Roster) {
        self.seen.lock().liveness.observe(roster, Instant::now());
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
        live.filter(|beacon| beacon.scheduler != *own)
            .cloned()
            .collect()
    }

    /// All live schedulers, this one first.
    pub(crate) fn live(&self) -> Vec<Beacon> {
        let mut all = vec![self.seen.lock().own.clone()];
        all.extend(self.peers());
        all
    }

    /// Whether a scheduler is known to be gone.
    pub(crate) fn is_gone(&self, scheduler: &paceline_model::SchedulerId) -> bool {
        let seen = self.seen.lock();
        seen.liveness.verdict(scheduler) != Some(paceline_store::Verdict::Live)
    }

    /// All live schedulers, as executors are told.
    pub(crate) fn message(&self) -> cluster::Members {
        let schedulers = self.live().into_iter().map(|beacon| cluster::Member {
            scheduler: beacon.scheduler.to_string(),
            cluster_address: beacon.addresses.cluster,
            flight_address: beacon.addresses.flight,
            http_address: beacon.addresses.http,
            zone: beacon.zone,
            version: beacon.version,
        });
        cluster::Members {
            schedulers: schedulers.collect(),
        }
    }

    /// Every known scheduler, for status pages.
    pub(crate) fn status(&self) -> Vec<SchedulerStatus> {
        let one = |beacon: &Beacon, live| SchedulerStatus {
            id: beacon.scheduler.clone(),
            address: beacon.addresses.cluster.clone(),
            flight: format!("grpc+tcp://{}", beacon.addresses.flight),
            zone: beacon.zone.clone(),
            version: beacon.version.clone(),
            live,
        };
        let mut all: Vec<_> = self.live().iter().map(|beacon| one(beacon, true)).collect();
        let seen = self.seen.lock();
        all.extend(seen.liveness.gone().map(|beacon| one(beacon, false)));
        all
    }
}

/// Beats for as long as it is polled.
pub(crate) async fn keep_beating(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(shared.membership.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = cluster::Members::default();
    loop {
        ticks.tick().await;
        if let Err(error) = shared.membership.beat().await {
            tracing::warn!(%error, "the state store does not answer; a beat is missed");
            shared.catalog.doubt();
            shared.store_away(true);
            continue;
        }
        shared.store_away(false);
        let members = shared.membership.message();
        if members != told {
            shared.driver.broadcast(&Message::Members(members.clone()));
            told = members;
        }
    }
}
