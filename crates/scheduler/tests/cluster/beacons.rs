//! Beacons of schedulers that are gone.

use std::time::Duration;

use paceline_model::{Incarnation, SchedulerId};
use paceline_store::{Addresses, Beacon, Members};
use uuid::Uuid;

use crate::support::{Cluster, store};

/// That of a scheduler where nobody answers.
pub(crate) fn beacon(beat: u64) -> Beacon {
    let nowhere = || "127.0.0.1:1".to_string();
    Beacon {
        scheduler: SchedulerId::new("dead"),
        incarnation: Incarnation(Uuid::nil()),
        addresses: Addresses {
            cluster: nowhere(),
            flight: nowhere(),
            http: nowhere(),
        },
        zone: String::new(),
        version: String::new(),
        beat,
    }
}

/// Shows it as one that lives, for as long as this is polled.
pub(crate) async fn show(members: &Members) {
    for beat in 1.. {
        members.beat(&beacon(beat)).await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "a beacon has to change")]
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A late beat may put one back when its scheduler is known to be over.
#[tokio::test(flavor = "multi_thread")]
async fn a_beacon_that_comes_back_goes_again() {
    let cluster = Cluster::start_with(1, 0, |options| {
        options.beat = Duration::from_millis(100);
        options.takeover_after = Duration::from_millis(300);
    })
    .await;
    let members = Members::new(store(&cluster.directory.path().join("state")));
    for beat in 1..=2 {
        members.beat(&beacon(beat)).await.unwrap();
        cluster
            .until("the beacon to go", || async {
                let beacons = members.list().await.unwrap().beacons;
                beacons
                    .iter()
                    .all(|there| there.scheduler.as_str() != "dead")
            })
            .await;
    }
}
