//! A stream to every other scheduler, whose end shows that it died.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use paceline_core::ownership::Evidence;
use paceline_model::SchedulerId;
use paceline_proto::cluster;
use paceline_store::Beacon;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use crate::news::News;
use crate::shared::Shared;

/// After a stream to a peer has ended.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// How long a peer's port is given to answer.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// The peers that are watched.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<BTreeSet<SchedulerId>>);

/// Watches every live peer that is not watched yet.
pub(crate) fn watch_peers(shared: &Arc<Shared>) {
    for peer in shared.membership.peers() {
        let id = peer.scheduler.clone();
        if !shared.watched.0.lock().insert(id.clone()) {
            continue;
        }
        let watching = Arc::clone(shared);
        shared.spawn_until_stopped(async move {
            watch(&watching, &peer).await;
            watching.watched.0.lock().remove(&id);
        });
    }
}

/// Watches a peer until it is gone.
async fn watch(shared: &Arc<Shared>, peer: &Beacon) {
    let scheduler = || peer.scheduler.clone();
    let tell = |evidence| shared.driver.newsroom.tell(News::Evidence(evidence));
    while !shared.membership.is_gone(&peer.scheduler) {
        match stream(shared, peer).await {
            // Another one answers there, so this one's process is no more.
            Some(other) if other != peer.scheduler => {
                tell(Evidence::Refused {
                    scheduler: scheduler(),
                });
            }
            _ if refuses(&peer.addresses.cluster).await => {
                tell(Evidence::Refused {
                    scheduler: scheduler(),
                });
            }
            _ => {}
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "between two tries at a peer that does not answer"
        )]
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Holds a stream until it ends, or the peer is known to be gone. Says who was at its other end.
async fn stream(shared: &Arc<Shared>, peer: &Beacon) -> Option<SchedulerId> {
    let mut client = shared.peers.client(&peer.addresses.cluster).ok()?;
    let request = cluster::WatchRequest {
        from: shared.driver.me().to_string(),
    };
    let mut stream = client.watch(request).await.ok()?.into_inner();
    let first = stream.message().await.ok()??;
    let there = SchedulerId::new(first.scheduler);
    if there != peer.scheduler {
        return Some(there);
    }
    shared.driver.newsroom.tell(News::Evidence(Evidence::Alive {
        scheduler: there.clone(),
    }));
    let mut changes = shared.driver.newsroom.changes();
    loop {
        // Cancel safety: nothing is expected but the end; a change missed here is looked at below.
        tokio::select! {
            message = stream.message() => if !matches!(message, Ok(Some(_))) {
                return Some(there);
            },
            changed = changes.changed() => {
                if changed.is_err() || shared.membership.is_gone(&there) {
                    return Some(there);
                }
            }
        }
    }
}

async fn refuses(address: &str) -> bool {
    let probe = tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(address));
    matches!(
        probe.await,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused
    )
}
