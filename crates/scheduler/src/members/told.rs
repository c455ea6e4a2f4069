//! Who the schedulers are, as others are told.

use paceline_frontend::SchedulerStatus;
use paceline_proto::cluster;
use paceline_store::Beacon;

use super::Membership;

impl Membership {
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
        let one = |beacon: &Beacon, live, reachable| SchedulerStatus {
            id: beacon.scheduler.clone(),
            address: beacon.addresses.cluster.clone(),
            flight: format!("grpc+tcp://{}", beacon.addresses.flight),
            zone: beacon.zone.clone(),
            version: beacon.version.clone(),
            live,
            reachable,
        };
        let live = self.live();
        let seen = self.seen.lock();
        let live = live.iter();
        let live = live.map(|beacon| one(beacon, true, !seen.is_silent(&beacon.scheduler)));
        let gone = seen.liveness.gone();
        live.chain(gone.map(|beacon| one(beacon, false, false)))
            .collect()
    }
}
