//! What schedulers tell each other.

use std::time::Duration;

use futures::future::join_all;
use paceline_model::{CatalogVersion, SchedulerId};
use paceline_proto::cluster;
use paceline_store::Beacon;

use crate::peers::Peers;
use crate::shared::Shared;
use crate::steps::pause;

/// Between two tries to tell a peer that lives and does not answer.
const TELL_AGAIN: Duration = Duration::from_millis(100);

/// How long a peer may take to hear something.
const TELL_TIMEOUT: Duration = Duration::from_secs(2);

impl Peers {
    /// Tells every live scheduler of a catalog version, and returns once each of them has it; or is gone, and
    /// watched no more, so that it does not rely on being told.
    pub(crate) async fn tell_of_catalog(&self, shared: &Shared, version: CatalogVersion) {
        // Who started a moment ago has a beacon by now, or will read this version by itself.
        while let Err(error) = shared.membership.look().await {
            tracing::warn!(%error, "cannot look for new schedulers to tell of a change yet");
            tokio::select! {
                () = pause() => {}
                () = shared.stop.cancelled() => return,
            }
        }
        let peers = shared.membership.to_be_told();
        let told = join_all(peers.iter().map(|peer| self.tell(shared, peer, version)));
        // Cancel safety: a look that is given up has seen nothing.
        tokio::select! {
            _ = told => {}
            () = keep_looking(shared) => {}
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "it is alive by its beacon, so it will answer, or its beacon will stop"
    )]
    async fn tell(&self, shared: &Shared, peer: &Beacon, version: CatalogVersion) {
        loop {
            let request = cluster::CatalogChangedRequest {
                from: shared.driver.me().to_string(),
                version: version.0,
            };
            let told = match self.client(&peer.addresses.cluster) {
                Ok(mut client) => {
                    let told = client.catalog_changed(request);
                    tokio::time::timeout(TELL_TIMEOUT, told).await
                }
                Err(_) => return,
            };
            match told {
                Ok(Ok(_)) => return,
                Ok(Err(status)) => tracing::debug!(peer = %peer.scheduler, %status, "not told"),
                Err(_) => tracing::debug!(peer = %peer.scheduler, "no answer"),
            }
            if shared.membership.may_pass_over(&peer.scheduler) {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(TELL_AGAIN) => {}
                () = shared.stop.cancelled() => return,
            }
        }
    }

    /// Tells every live scheduler that a journal is sealed. Who does not hear it finds out by itself.
    pub(crate) async fn tell_of_seal(&self, shared: &Shared, journal: &SchedulerId) {
        let peers = shared.membership.peers();
        let tell = peers
            .iter()
            .map(|peer| self.tell_one_of_seal(peer, journal));
        join_all(tell).await;
    }

    /// Tells one scheduler that a journal is sealed, which may be its own.
    pub(crate) async fn tell_one_of_seal(&self, peer: &Beacon, journal: &SchedulerId) {
        let Ok(mut client) = self.client(&peer.addresses.cluster) else {
            return;
        };
        let request = cluster::SealedRequest {
            scheduler: journal.to_string(),
        };
        let told = tokio::time::timeout(TELL_TIMEOUT, client.sealed(request)).await;
        if !matches!(told, Ok(Ok(_))) {
            tracing::debug!(peer = %peer.scheduler, "not told of the seal");
        }
    }
}

/// Looks at the beacons once in a beat, for as long as it is polled: whether a scheduler that does not answer
/// is gone shows there, and nobody else may be looking.
#[expect(
    clippy::disallowed_methods,
    reason = "that a beacon stands still is seen by looking again"
)]
async fn keep_looking(shared: &Shared) {
    loop {
        tokio::time::sleep(shared.membership.interval()).await;
        if let Err(error) = shared.membership.look().await {
            tracing::debug!(%error, "cannot look whether those are gone who do not answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use paceline_store::Members;

    use super::*;
    use crate::testing::{beacon, shared, store};

    /// As before a scheduler serves: nobody looks at beacons beside it.
    #[tokio::test]
    async fn a_beacon_that_was_left_behind_holds_up_no_change() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let mut dead = beacon(SchedulerId::new("dead"), 1);
        dead.addresses.cluster = "127.0.0.1:1".to_string();
        let members = Members::new(store(directory.path()));
        members.beat(&dead).await.unwrap();
        let telling = shared
            .peers
            .tell_of_catalog(&shared, shared.catalog.version());
        let told = tokio::time::timeout(Duration::from_secs(60), telling).await;
        assert!(told.is_ok(), "it is waited for, for ever");
        shared.stop.cancel();
    }
}
