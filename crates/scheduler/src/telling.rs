//! What schedulers tell each other.

use std::time::{Duration, Instant};

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

/// Between two warnings that a peer does not answer.
const WARN_AGAIN: Duration = Duration::from_secs(60);

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
        let begun = Instant::now();
        // One that died, or is cut off from all others, is gone by then.
        let mut patience = shared.journaling.suspicion.takeover_after * 2;
        loop {
            let request = cluster::CatalogChangedRequest { version: version.0 };
            let told = match self.client(&peer.addresses.cluster) {
                Ok(mut client) => {
                    let told = client.catalog_changed(request);
                    tokio::time::timeout(TELL_TIMEOUT, told).await
                }
                Err(_) => return,
            };
            let why = match told {
                Ok(Ok(_)) => return,
                Ok(Err(status)) => status.message().to_string(),
                Err(_) => format!("no answer within {TELL_TIMEOUT:?}"),
            };
            tracing::debug!(peer = %peer.scheduler, why, "not told");
            if shared.membership.may_pass_over(&peer.scheduler) {
                return;
            }
            if begun.elapsed() >= patience {
                patience = begun.elapsed() + WARN_AGAIN;
                warn(peer, version, &why);
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

/// A change is made, and is not acknowledged because a scheduler does not know of it. Nobody else takes its
/// place: it lives.
fn warn(peer: &Beacon, version: CatalogVersion, why: &str) {
    let address = &peer.addresses.cluster;
    tracing::warn!(
        peer = %peer.scheduler, address, %version, why,
        "a change of the catalog waits for a scheduler that is not reached, though its beacon goes on: see to \
         the network between the two, and that listen.advertise_host there names an address that can be \
         dialed from here; or stop it"
    );
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
    use std::fmt::{Debug, Write};
    use std::path::Path;
    use std::sync::Arc;

    use paceline_store::Members;
    use parking_lot::Mutex;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::*;
    use crate::testing::{beacon, shared, shared_with, store};

    /// Shows a scheduler once where nobody answers.
    async fn show_dead(directory: &Path) {
        let mut dead = beacon(SchedulerId::new("dead"), 1);
        dead.addresses.cluster = "127.0.0.1:1".to_string();
        let members = Members::new(store(directory));
        members.beat(&dead).await.unwrap();
    }

    /// As before a scheduler serves: nobody looks at beacons beside it.
    #[tokio::test]
    async fn a_beacon_that_was_left_behind_holds_up_no_change() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        show_dead(directory.path()).await;
        let version = shared.catalog.version();
        let telling = shared.peers.tell_of_catalog(&shared, version);
        let told = tokio::time::timeout(Duration::from_secs(60), telling).await;
        assert!(told.is_ok(), "it is waited for, for ever");
        shared.stop.cancel();
    }

    /// What this thread warns of, with all that belongs to it.
    #[derive(Clone, Default)]
    struct Warnings(Arc<Mutex<String>>);

    impl Subscriber for Warnings {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() == Level::WARN
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            event.record(&mut Text(&mut self.0.lock()));
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    struct Text<'a>(&'a mut String);

    impl Visit for Text<'_> {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            write!(self.0, "{field}={value:?} ").unwrap();
        }
    }

    #[tokio::test]
    async fn what_waits_for_a_scheduler_that_is_not_reached_says_for_which_and_what_to_do() {
        let warnings = Warnings::default();
        let _logged = tracing::subscriber::set_default(warnings.clone());
        let directory = tempfile::tempdir().unwrap();
        let shared = shared_with(directory.path(), |options| {
            options.takeover_after = Duration::from_millis(50);
            // So it counts as live all the time.
            options.beat = Duration::from_secs(3600);
        })
        .await;
        show_dead(directory.path()).await;
        let version = shared.catalog.version();
        let telling = shared.peers.tell_of_catalog(&shared, version);
        let warned = async {
            while !warnings.0.lock().contains("waits") {
                tokio::task::yield_now().await;
            }
        };
        // Cancel safety: nobody is told of anything.
        tokio::select! {
            () = telling => panic!("nobody was told"),
            warned = tokio::time::timeout(Duration::from_secs(60), warned) => warned.unwrap(),
        }
        let warned = warnings.0.lock().clone();
        for named in ["peer=dead", "127.0.0.1:1", "listen.advertise_host"] {
            assert!(warned.contains(named), "{named}: {warned}");
        }
        shared.stop.cancel();
    }
}
