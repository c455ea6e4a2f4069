//! A stream to every other scheduler. Its end shows that one died, its silence that one is cut off; and who
//! holds one to this scheduler tells it of every change of the catalog.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use paceline_core::ownership::Evidence;
use paceline_model::SchedulerId;
use paceline_proto::cluster;
use paceline_store::Beacon;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
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

/// How much of a silence one try at a peer adds at most. Each takes less, unless this process stood still:
/// then it did not listen.
const LISTENED: Duration = Duration::from_secs(2);

/// For how long a peer has said nothing, as far as somebody listened.
#[derive(Debug)]
struct Silence {
    so_far: Duration,
    since: Instant,
}

impl Silence {
    /// The peer says something.
    fn after_a_word(now: Instant) -> Self {
        Silence {
            so_far: Duration::ZERO,
            since: now,
        }
    }

    /// It has said nothing until now.
    fn lasts(&mut self, now: Instant) -> Duration {
        let more = now.saturating_duration_since(self.since);
        self.so_far += more.min(LISTENED);
        self.since = now;
        self.so_far
    }
}

/// The peers that are watched.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<BTreeSet<SchedulerId>>);

/// A stream that another scheduler holds to this one, for as long as this lives.
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    peer: SchedulerId,
}

impl Watcher {
    pub(crate) fn begin(shared: &Arc<Shared>, peer: SchedulerId) -> Self {
        let now = std::time::Instant::now();
        if shared.membership.watched_by(&peer, now) {
            shared.made_contact();
        }
        let is_watched = shared.watched.0.lock().contains(&peer);
        if !is_watched && !shared.membership.is_over(&peer) {
            // It started a moment ago, and would be seen at the next look.
            shared.newcomer.notify_one();
        }
        Watcher {
            shared: Arc::clone(shared),
            peer,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.membership.not_watched_by(&self.peer);
    }
}

/// The one watch over a peer. However it ends, another one may begin then.
struct Watch {
    shared: Arc<Shared>,
    peer: SchedulerId,
}

impl Watch {
    /// None if the peer is watched already.
    fn begin(shared: &Arc<Shared>, peer: &SchedulerId) -> Option<Self> {
        let begins = shared.watched.0.lock().insert(peer.clone());
        begins.then(|| Watch {
            shared: Arc::clone(shared),
            peer: peer.clone(),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.membership.gives_up(&self.peer);
        self.shared.watched.0.lock().remove(&self.peer);
    }
}

/// Watches every live peer that is not watched yet.
pub(crate) fn watch_peers(shared: &Arc<Shared>) {
    for peer in shared.membership.peers() {
        if let Some(only) = Watch::begin(shared, &peer.scheduler) {
            shared.spawn_until_stopped(watch(only, peer));
        }
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
    /// This scheduler has another id by now, by which the peer has to know it.
    Renamed,
}

/// Watches a peer until it is gone.
async fn watch(only: Watch, peer: Beacon) {
    let (shared, peer) = (&only.shared, &peer);
    let scheduler = || peer.scheduler.clone();
    let tell = |evidence| shared.driver.newsroom.tell(News::Evidence(evidence));
    let mut silence = Silence::after_a_word(Instant::now());
    while !shared.membership.is_gone(&peer.scheduler) {
        shared.membership.watches(&peer.scheduler);
        let ended = stream(shared, peer, &mut silence).await;
        let is_silent = matches!(ended, Ended::Unanswered | Ended::Replaced);
        let membership = &shared.membership;
        membership.watches_no_more(&peer.scheduler, is_silent);
        if matches!(ended, Ended::Replaced) || is_dead(&peer.addresses.cluster, &ended).await {
            tell(Evidence::Refused {
                scheduler: scheduler(),
            });
        } else if matches!(ended, Ended::Unanswered) {
            tell(Evidence::Unanswered {
                scheduler: scheduler(),
                silence: silence.lasts(Instant::now()),
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

/// Holds a stream until it ends or is silent, or the peer is known to be gone.
async fn stream(shared: &Arc<Shared>, peer: &Beacon, silence: &mut Silence) -> Ended {
    let Ok(mut client) = shared.peers.client(&peer.addresses.cluster) else {
        return Ended::Unanswered;
    };
    let mut changes = shared.driver.newsroom.changes();
    let me = shared.driver.me();
    let request = cluster::WatchRequest {
        from: me.to_string(),
    };
    let open = async {
        let mut stream = client.watch(request).await.ok()?.into_inner();
        let first = stream.message().await.ok()??;
        Some((stream, first))
    };
    let patience = patience(shared, silence.lasts(Instant::now()));
    let Ok(Some((mut stream, first))) = tokio::time::timeout(patience, open).await else {
        return Ended::Unanswered;
    };
    let there = peer.scheduler.as_str();
    if first.scheduler != there {
        return Ended::Replaced;
    }
    *silence = Silence::after_a_word(Instant::now());
    shared.heard(&peer.scheduler);
    shared
        .driver
        .newsroom
        .tell(News::Evidence(Evidence::Answered {
            scheduler: peer.scheduler.clone(),
        }));
    loop {
        let beat = tokio::time::timeout_at(silence.since + SILENT_AFTER, stream.message());
        // Cancel safety: no message is lost with its future; a change missed here is looked at below.
        tokio::select! {
            beat = beat => match beat {
                Ok(Ok(Some(beat))) if beat.scheduler == there => {
                    *silence = Silence::after_a_word(Instant::now());
                    shared.heard(&peer.scheduler);
                }
                Ok(Ok(Some(_))) => return Ended::Replaced,
                _ => return Ended::Broken,
            },
            changed = changes.changed() => {
                if changed.is_err() || shared.membership.is_gone(&peer.scheduler) {
                    return Ended::Broken;
                }
                if shared.driver.me() != me {
                    return Ended::Renamed;
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

/// Whether nobody listens there any more. The connections of a process that dies may end before its ports
/// close: one that is made in between breaks off with them, and the next one is refused.
async fn is_dead(address: &str, ended: &Ended) -> bool {
    let there = match connect(address).await {
        Ok(there) => there,
        Err(error) => return is_refusal(&error),
    };
    let broken = matches!(ended, Ended::Broken) && breaks_off(there).await;
    broken
        && connect(address)
            .await
            .is_err_and(|error| is_refusal(&error))
}

async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let connecting = tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(address));
    connecting.await.unwrap_or_else(|late| Err(late.into()))
}

fn is_refusal(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::ConnectionRefused
}

/// Whether a connection breaks off within the time that one is left alone otherwise. A scheduler that lives
/// says something first, as HTTP/2 has it.
async fn breaks_off(mut there: TcpStream) -> bool {
    let mut first = [0];
    let first = tokio::time::timeout(RETRY_AFTER, there.read(&mut first));
    matches!(first.await, Ok(Ok(0) | Err(_)))
}

#[cfg(test)]
mod tests {
    use paceline_store::Members;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::testing::{beacon, cluster_port, serve, shared, shared_with, store};

    /// As the ports of a process that was killed may be seen: a connection is made before they close.
    #[tokio::test]
    async fn who_dies_while_it_is_looked_at_is_dead() {
        let listens = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listens.local_addr().unwrap().to_string();
        let closing = async {
            let accepted = listens.accept().await.unwrap();
            drop(listens);
            drop(accepted);
        };
        let (dead, ()) = tokio::join!(is_dead(&address, &Ended::Broken), closing);
        assert!(dead);
        assert!(is_dead(&address, &Ended::Unanswered).await, "and stays so");
    }

    #[tokio::test]
    async fn who_listens_lives_whatever_it_says() {
        let listens = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listens.local_addr().unwrap().to_string();
        let speaking = async {
            let (mut accepted, _) = listens.accept().await.unwrap();
            accepted.write_all(b"settings").await.unwrap();
        };
        let (dead, ()) = tokio::join!(is_dead(&address, &Ended::Broken), speaking);
        assert!(!dead);
        // It breaks off whatever is made, as a proxy does before something that is dead.
        let breaking = async {
            for _ in 0..2 {
                drop(listens.accept().await.unwrap());
            }
        };
        let (dead, ()) = tokio::join!(is_dead(&address, &Ended::Broken), breaking);
        assert!(!dead, "somebody listens");
    }

    #[test]
    fn while_nobody_listened_there_was_no_silence() {
        let begun = Instant::now();
        let after = |millis| begun + Duration::from_millis(millis);
        let mut silence = Silence::after_a_word(begun);
        assert_eq!(
            silence.lasts(after(1_600)),
            Duration::from_millis(1_600),
            "one try"
        );
        assert_eq!(silence.lasts(after(3_000)), Duration::from_secs(3));
        // It stood still for an hour.
        assert_eq!(silence.lasts(after(3_603_000)), Duration::from_secs(5));
        silence = Silence::after_a_word(after(3_603_000));
        assert_eq!(silence.lasts(after(3_603_000)), Duration::ZERO);
    }

    /// Or those would hold it for one that does not tell them of the catalog.
    #[tokio::test]
    async fn who_has_another_id_is_known_by_it_to_those_whom_it_watches() {
        let directory = tempfile::tempdir().unwrap();
        // What was heard a moment ago does not grow old.
        let beat = Duration::from_secs(3600);
        let shared = async || shared_with(directory.path(), |options| options.beat = beat).await;
        let (one, other) = (shared().await, shared().await);
        let members = Members::new(store(directory.path()));
        let mut served = beacon(other.driver.me(), 1);
        served.addresses.cluster = serve(cluster_port(&other)).await;
        members.beat(&served).await.unwrap();
        one.membership.look().await.unwrap();
        watch_peers(&one);
        let is_known = async |id: SchedulerId| {
            members.beat(&beacon(id.clone(), 1)).await.unwrap();
            other.membership.look().await.unwrap();
            other.membership.heard(&id, std::time::Instant::now());
            let mut contacts = other.membership.contacts();
            let now = std::time::Instant::now();
            let met = contacts.wait_for(|()| !other.membership.awaits_contact(now));
            let met = tokio::time::timeout(Duration::from_secs(60), met).await;
            assert!(met.is_ok(), "{id} is not known to watch");
        };
        let former = one.driver.me();
        is_known(former.clone()).await;
        one.driver.fence(|identity| {
            identity.renew();
        });
        one.driver.newsroom.change();
        other.membership.has_left(&former);
        is_known(one.driver.me()).await;
        for scheduler in [&one, &other] {
            scheduler.stop.cancel();
        }
    }

    #[tokio::test]
    async fn a_watch_that_ends_in_whatever_way_may_begin_again() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let peer = SchedulerId::new("peer");
        let only = Watch::begin(&shared, &peer).unwrap();
        assert!(Watch::begin(&shared, &peer).is_none());
        let panics = async move {
            let _only = only;
            panic!("as the test has it");
        };
        assert!(tokio::spawn(panics).await.is_err());
        assert!(Watch::begin(&shared, &peer).is_some());
        shared.stop.cancel();
    }
}
