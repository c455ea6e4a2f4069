//! One attach stream, from `Hello` until it is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use paceline_model::SchedulerId;
use paceline_proto::cluster::cluster_client::ClusterClient;
use paceline_proto::cluster::from_executor::Message as Said;
use paceline_proto::cluster::from_scheduler::Message as Told;
use paceline_proto::{PROTOCOL, cluster};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::roster::Heard;
use crate::book::Link;
use crate::node::Node;

/// Plans and inventories may be large; this only bounds what a broken peer can make us hold.
const MESSAGE_LIMIT: usize = 256 << 20;

/// States are sent together up to about so many bytes a message.
const BATCH_BYTES: usize = 4 << 20;

/// A scheduler that says nothing for so long is none.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two messages that tell nothing but the load. States never wait for it.
const LOAD_INTERVAL: Duration = Duration::from_millis(20);

const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(20);

/// How a try at attaching ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The stream worked and is gone.
    Lost(SchedulerId, String),
    /// Another stream reached the same scheduler.
    Superseded,
    /// Nobody answered.
    Unreachable(tonic::transport::Error),
    /// The scheduler does not want this executor.
    Refused(Status),
    /// It ended before it began.
    Broken(String),
}

/// Attaches over a connection and talks until the stream ends. Dropping it ends the stream as well.
pub(super) async fn converse(
    node: &Arc<Node>,
    channel: Channel,
    expected: &mut Option<SchedulerId>,
    heard: &mpsc::Sender<Heard>,
) -> Ended {
    let mut client = ClusterClient::new(channel)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let (say, said) = mpsc::channel(4);
    // The channel is new and has room.
    let _ = say.send(hello(node)).await;
    let begun = tokio::time::timeout(WELCOME_TIMEOUT, begin(&mut client, said)).await;
    let (welcome, inbound) = match begun {
        Ok(Ok(begun)) => begun,
        Ok(Err(status)) if is_refusal(&status) => return Ended::Refused(status),
        Ok(Err(status)) => return Ended::Broken(status.to_string()),
        Err(_) => return Ended::Broken(format!("no welcome within {WELCOME_TIMEOUT:?}")),
    };
    let scheduler = SchedulerId::new(welcome.scheduler);
    *expected = Some(scheduler.clone());
    let attached = Attached::new(node, scheduler.clone());
    tracing::info!(%scheduler, "attached");
    let interval = heartbeat_interval(node.pace.heartbeat, welcome.heartbeat_millis);
    // Cancel safety: whichever ends first, the stream is over and the others may be dropped. States
    // that were taken to be sent stay in the outbox until they are acknowledged.
    tokio::select! {
        reason = listen(node, &attached.link, &scheduler, inbound, heard) => {
            Ended::Lost(scheduler, reason)
        }
        () = speak(node, &attached.link, say, interval) => {
            Ended::Lost(scheduler, "it stopped reading".to_string())
        }
        () = attached.link.superseded.cancelled() => Ended::Superseded,
    }
}

/// Books the link for as long as it lives, however the conversation ends.
struct Attached {
    node: Arc<Node>,
    link: Link,
}

impl Attached {
    fn new(node: &Arc<Node>, scheduler: SchedulerId) -> Self {
        let link = node.book.lock().attach(scheduler);
        node.observe_book();
        node.notify_changed();
        Attached {
            node: node.clone(),
            link,
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.node.book.lock().detach(self.link.id, Instant::now());
        self.node.observe_book();
        self.node.notify_changed();
    }
}

fn hello(node: &Node) -> cluster::FromExecutor {
    let identity = &node.identity;
    message(Said::Hello(cluster::Hello {
        protocol: PROTOCOL,
        executor: identity.executor.to_string(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        address: identity.address.clone(),
        zone: identity.zone.clone(),
        slots: node.slots.total(),
        memory_bytes: identity.memory.0,
        inventory: Some(node.book.lock().inventory()),
    }))
}

fn message(said: Said) -> cluster::FromExecutor {
    cluster::FromExecutor {
        message: Some(said),
    }
}

async fn begin(
    client: &mut ClusterClient<Channel>,
    said: mpsc::Receiver<cluster::FromExecutor>,
) -> Result<(cluster::Welcome, Streaming<cluster::FromScheduler>), Status> {
    let mut inbound = client.attach(ReceiverStream::new(said)).await?.into_inner();
    match inbound.message().await?.and_then(|first| first.message) {
        Some(Told::Welcome(welcome)) if !welcome.scheduler.is_empty() => Ok((welcome, inbound)),
        Some(_) => Err(Status::failed_precondition(
            "it did not begin with a welcome that names it",
        )),
        None => Err(Status::unavailable("the stream ended before a welcome")),
    }
}

/// Answers that the same question would get again.
fn is_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
    )
}

fn heartbeat_interval(own: Duration, wanted_millis: u64) -> Duration {
    let wanted = match wanted_millis {
        0 => own,
        millis => own.min(Duration::from_millis(millis)),
    };
    wanted.max(SHORTEST_HEARTBEAT)
}

/// Carries out what the scheduler says, until it stops.
async fn listen(
    node: &Arc<Node>,
    link: &Link,
    scheduler: &SchedulerId,
    mut inbound: Streaming<cluster::FromScheduler>,
    heard: &mpsc::Sender<Heard>,
) -> String {
    loop {
        match inbound.message().await {
            Ok(Some(cluster::FromScheduler {
                message: Some(Told::Members(members)),
            })) => {
                let heard_of = Heard::Members(scheduler.clone(), members.schedulers);
                let _ = heard.send(heard_of).await;
            }
            Ok(Some(cluster::FromScheduler {
                message: Some(told),
            })) => node.apply(link.id, told),
            // Of a later version.
            Ok(Some(cluster::FromScheduler { message: None })) => {}
            Ok(None) => return "it ended the stream".to_string(),
            Err(status) => return status.to_string(),
        }
    }
}

/// Says what there is to say, until nobody listens: states as soon as there are any, the load with
/// them and at least with every heartbeat.
async fn speak(
    node: &Arc<Node>,
    link: &Link,
    say: mpsc::Sender<cluster::FromExecutor>,
    interval: Duration,
) {
    let mut beats = tokio::time::interval(interval);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0;
    let mut told = cluster::Load::default();
    let mut streams = Vec::new();
    let mut told_at = tokio::time::Instant::now();
    let mut owed = false;
    loop {
        // Cancel safety: all four only wait; a wake that comes meanwhile is kept.
        let beat = tokio::select! {
            () = link.wake.notified() => false,
            _ = beats.tick() => true,
            () = tokio::time::sleep_until(told_at + LOAD_INTERVAL), if owed => false,
            () = say.closed() => return,
        };
        let (held, states, attached) = {
            let mut book = node.book.lock();
            let held = book.adopted(link.id);
            (held, book.outgoing(link.id, beat), book.attached())
        };
        // What an adopter is told comes before the states that follow from it.
        if !held.is_empty() {
            let held = cluster::Held { queries: held };
            if say.send(message(Said::Held(held))).await.is_err() {
                return;
            }
        }
        if attached != streams {
            streams = attached;
            let schedulers = streams.iter().map(ToString::to_string).collect();
            let said = Said::Streams(cluster::Streams { schedulers });
            if say.send(message(said)).await.is_err() {
                return;
            }
        }
        let load = node.load();
        let has_states = !states.is_empty();
        for states in batches(states) {
            let load = Some(load);
            let states = cluster::TaskStates { states, load };
            if say.send(message(Said::TaskStates(states))).await.is_err() {
                return;
            }
        }
        let news = load != told && !has_states;
        owed = news && !beat && told_at.elapsed() < LOAD_INTERVAL;
        if owed {
            continue;
        }
        if beat || news {
            count += 1;
            let heartbeat = cluster::Heartbeat {
                count,
                load: Some(load),
            };
            if say.send(message(Said::Heartbeat(heartbeat))).await.is_err() {
                return;
            }
        }
        if beat || news || has_states {
            told = load;
            told_at = tokio::time::Instant::now();
        }
    }
}

/// Cuts states into messages of a sensible size.
fn batches(states: Vec<cluster::TaskState>) -> Vec<Vec<cluster::TaskState>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for state in states {
        let size = state.encoded_len();
        if bytes + size > BATCH_BYTES && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += size;
        batch.push(state);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn no_batch_is_much_larger_than_it_should_be() {
        let state = cluster::TaskState {
            query: Bytes::from(vec![0; BATCH_BYTES / 3]),
            ..cluster::TaskState::default()
        };
        let batches = batches(vec![state; 5]);
        let lengths: Vec<_> = batches.iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 2, 1]);
    }

    #[test]
    fn the_more_frequent_heartbeat_wins() {
        let own = Duration::from_millis(500);
        assert_eq!(heartbeat_interval(own, 0), own);
        assert_eq!(heartbeat_interval(own, 100), Duration::from_millis(100));
        assert_eq!(heartbeat_interval(own, 9_000), own);
        assert_eq!(heartbeat_interval(own, 1), SHORTEST_HEARTBEAT);
    }
}
