//! One attach stream, from `Hello` until it is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, stream};
use paceline_model::SchedulerId;
use paceline_proto::cluster::cluster_client::ClusterClient;
use paceline_proto::cluster::from_executor::Message as Said;
use paceline_proto::cluster::from_scheduler::Message as Told;
use paceline_proto::{MESSAGE_LIMIT, PROTOCOL, cluster};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::attaching::Heard;
use crate::book::Link;
use crate::node::Node;

/// What there is to say is said in messages of up to about so many bytes.
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

/// Attaches over a connection to that address and talks until the stream ends. Dropping it ends the stream
/// as well.
pub(super) async fn converse(
    node: &Arc<Node>,
    (address, channel): (SocketAddr, Channel),
    expected: &mut Option<SchedulerId>,
    heard: &mpsc::Sender<Heard>,
) -> Ended {
    let mut client = ClusterClient::new(channel)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let (say, said) = mpsc::channel(4);
    let said = stream::iter(hello(node)).chain(ReceiverStream::new(said));
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
    // Before what it says of others: they are compared with who was reached.
    let reached = Heard::Reached(address, scheduler.clone());
    let _ = heard.send(reached).await;
    let interval = heartbeat_interval(node.pace.heartbeat, welcome.heartbeat_millis);
    // On a task of its own: a command may take a while to be carried out, and heartbeats must go on.
    let speaking = speak(node.clone(), attached.link.clone(), say, interval);
    let speaking = AbortOnDropHandle::new(tokio::spawn(speaking));
    // Cancel safety: whichever ends first, the stream is over and the others may be dropped. States
    // that were taken to be sent stay in the outbox until they are acknowledged.
    tokio::select! {
        reason = listen(node, &attached.link, &scheduler, inbound, heard) => {
            Ended::Lost(scheduler, reason)
        }
        spoken = speaking => {
            let reason = match spoken {
                Ok(()) => "it stopped reading".to_string(),
                Err(error) => format!("nothing can be said to it any more: {error}"),
            };
            Ended::Lost(scheduler, reason)
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

/// What begins a stream: who this is, and all it holds.
fn hello(node: &Node) -> Vec<cluster::FromExecutor> {
    let identity = &node.identity;
    let inventory = node.book.lock().inventory();
    let mut parts = parts(inventory).into_iter();
    let hello = Said::Hello(cluster::Hello {
        protocol: PROTOCOL,
        executor: identity.executor.to_string(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        address: identity.address.clone(),
        zone: identity.zone.clone(),
        slots: node.slots.total(),
        memory_bytes: identity.memory.0,
        inventory: parts.next(),
    });
    let more = parts.map(Said::Inventory);
    std::iter::once(hello).chain(more).map(message).collect()
}

/// Cuts an inventory into messages of a sensible size. What is held of one query stays together.
fn parts(inventory: cluster::Inventory) -> Vec<cluster::Inventory> {
    let batches = batches(inventory.queries);
    let last = batches.len().saturating_sub(1);
    let numbered = batches.into_iter().enumerate();
    numbered
        .map(|(nth, queries)| cluster::Inventory {
            queries,
            more: nth < last,
        })
        .collect()
}

fn message(said: Said) -> cluster::FromExecutor {
    cluster::FromExecutor {
        message: Some(said),
    }
}

async fn begin(
    client: &mut ClusterClient<Channel>,
    said: impl Stream<Item = cluster::FromExecutor> + Send + 'static,
) -> Result<(cluster::Welcome, Streaming<cluster::FromScheduler>), Status> {
    let mut inbound = client.attach(said).await?.into_inner();
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
#[expect(
    clippy::disallowed_methods,
    reason = "heartbeats go on though nothing happens; what happens is said at once"
)]
async fn speak(
    node: Arc<Node>,
    link: Link,
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
        for queries in batches(held) {
            let held = cluster::Held { queries };
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

/// Cuts what is to be said into messages of a sensible size.
fn batches<M: prost::Message>(all: Vec<M>) -> Vec<Vec<M>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for one in all {
        let size = one.encoded_len();
        if bytes + size > BATCH_BYTES && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += size;
        batch.push(one);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

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

    fn held(query: u8, outputs: usize) -> cluster::HeldQuery {
        let output = cluster::TaskState {
            query: Bytes::from(vec![query; 16]),
            ..cluster::TaskState::default()
        };
        cluster::HeldQuery {
            query: output.query.clone(),
            finished: vec![output; outputs],
            ..cluster::HeldQuery::default()
        }
    }

    #[test]
    fn an_inventory_is_said_in_parts_and_no_query_is_cut() {
        let one = held(0, 2).encoded_len() - held(0, 1).encoded_len();
        // Three of them fit, and not a fourth.
        let outputs = BATCH_BYTES * 3 / 10 / one;
        let all: Vec<_> = (0..7).map(|query| held(query, outputs)).collect();
        let parts = parts(cluster::Inventory {
            queries: all.clone(),
            more: false,
        });
        let told: Vec<_> = parts.iter().map(|part| part.more).collect();
        assert_eq!(told, [true, true, false], "only the last one ends it");
        let largest = parts.iter().map(Message::encoded_len).max();
        assert!(largest < Some(BATCH_BYTES * 11 / 10), "{largest:?}");
        let queries = parts.into_iter().flat_map(|part| part.queries);
        assert!(queries.eq(all));
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
