//! A stream to every other scheduler. Its end shows that one died, its silence that one is cut off.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use paceline_core::ownership::Evidence;
use paceline_model::SchedulerId;
use paceline_proto::cluster;
use paceline_store::Beacon;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::news::News;
use crate::shared::Shared;

/// Between two words of a scheduler to those that watch it.
pub(crate) const WATCH_BEAT: Duration = Duration::from_millis(250);

/// A stream that brought nothing for that long is given up: four beats, or a pause of a busy process.
const SILENT_AFTER: Duration = Duration::from_secs(1);

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

/// How a stream to a peer ended.
enum Ended {
    /// The peer did not answer.
    Unanswered,
    /// It was there, and is silent or gone.
    Broken,
    /// Another one answers there, so the process that was watched is no more.
    Replaced,
}

/// Watches a peer until it is gone.
async fn watch(shared: &Arc<Shared>, peer: &Beacon) {
    let scheduler = || peer.scheduler.clone();
    let tell = |evidence| shared.driver.newsroom.tell(News::Evidence(evidence));
    let mut heard = Instant::now();
    while !shared.membership.is_gone(&peer.scheduler) {
        let ended = stream(shared, peer, &mut heard).await;
        if matches!(ended, Ended::Replaced) || refuses(&peer.addresses.cluster).await {
            tell(Evidence::Refused {
                scheduler: scheduler(),
            });
        } else if matches!(ended, Ended::Unanswered) {
            tell(Evidence::Unanswered {
                scheduler: scheduler(),
                silence: heard.elapsed(),
                executors: shared.driver.open_streams(),
            });
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "between two tries at a peer that does not answer"
        )]
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Holds a stream until it ends or is silent, or the peer is known to be gone. `heard` is when the peer
/// last said something.
async fn stream(shared: &Arc<Shared>, peer: &Beacon, heard: &mut Instant) -> Ended {
    let Ok(mut client) = shared.peers.client(&peer.addresses.cluster) else {
        return Ended::Unanswered;
    };
    let request = cluster::WatchRequest {
        from: shared.driver.me().to_string(),
    };
    let open = async {
        let mut stream = client.watch(request).await.ok()?.into_inner();
        let first = stream.message().await.ok()??;
        Some((stream, first))
    };
    let patience = patience(shared, heard.elapsed());
    let Ok(Some((mut stream, first))) = tokio::time::timeout(patience, open).await else {
        return Ended::Unanswered;
    };
    let there = peer.scheduler.as_str();
    if first.scheduler != there {
        return Ended::Replaced;
    }
    *heard = Instant::now();
    shared
        .driver
        .newsroom
        .tell(News::Evidence(Evidence::Answered {
            scheduler: peer.scheduler.clone(),
        }));
    let mut changes = shared.driver.newsroom.changes();
    loop {
        let beat = tokio::time::timeout_at(*heard + SILENT_AFTER, stream.message());
        // Cancel safety: no message is lost with its future; a change missed here is looked at below.
        tokio::select! {
            beat = beat => match beat {
                Ok(Ok(Some(beat))) if beat.scheduler == there => *heard = Instant::now(),
                Ok(Ok(Some(_))) => return Ended::Replaced,
                _ => return Ended::Broken,
            },
            changed = changes.changed() => {
                if changed.is_err() || shared.membership.is_gone(&peer.scheduler) {
                    return Ended::Broken;
                }
            }
        }
    }
}

/// How long a peer that was silent for so long may take to answer: when it has been silent for too
/// long, that is to be told at once.
fn patience(shared: &Shared, silence: Duration) -> Duration {
    let left = shared
        .journaling
        .suspicion
        .takeover_after
        .saturating_sub(silence);
    match left {
        Duration::ZERO => SILENT_AFTER,
        left => left.min(SILENT_AFTER),
    }
}

async fn refuses(address: &str) -> bool {
    let probe = tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(address));
    matches!(
        probe.await,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused
    )
}
