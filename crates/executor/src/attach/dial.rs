//! One dialer: keeps a stream to the scheduler at one address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use paceline_model::SchedulerId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::attaching::Heard;
use super::pause::Pause;
use super::stream::{Ended, converse};
use crate::node::Node;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A scheduler that is frozen or cut off is noticed within these two together, which is less than
/// it takes the other schedulers to doubt it: their verdict waits for the executors' word.
const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(500);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(1500);

/// A stream that lasted so long worked. One that is lost sooner may be lost in the same way again.
const WORKED: Duration = Duration::from_secs(1);

/// Dials until told to end. `scheduler` is who is expected there, if that is known: while it is
/// attached by way of another address, this one rests.
pub(super) async fn keep_attached(
    node: Arc<Node>,
    address: SocketAddr,
    mut scheduler: Option<SchedulerId>,
    heard: mpsc::Sender<Heard>,
    end: CancellationToken,
) {
    let mut pause = Pause::default();
    // Cancel safety: dropping this in the middle of a conversation ends the stream and detaches.
    let forever = async {
        loop {
            if let Some(scheduler) = &scheduler {
                detached(&node, scheduler).await;
            }
            let begun = Instant::now();
            let ended = once(&node, address, &mut scheduler, &heard).await;
            let wait = next_pause(&node, address, (ended, begun.elapsed()), &mut pause);
            #[expect(
                clippy::disallowed_methods,
                reason = "between two tries at a scheduler that is not there"
            )]
            tokio::time::sleep(wait).await;
        }
    };
    tokio::select! {
        () = end.cancelled() => {}
        () = forever => {}
    }
}

/// Waits until a scheduler has no link.
async fn detached(node: &Node, scheduler: &SchedulerId) {
    let mut changed = node.changed.subscribe();
    while node.book.lock().is_attached(scheduler) {
        if changed.changed().await.is_err() {
            return;
        }
    }
}

async fn once(
    node: &Arc<Node>,
    address: SocketAddr,
    scheduler: &mut Option<SchedulerId>,
    heard: &mpsc::Sender<Heard>,
) -> Ended {
    match connect(address).await {
        Ok(channel) => converse(node, (address, channel), scheduler, heard).await,
        Err(error) => Ended::Unreachable(error),
    }
}

async fn connect(address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect()
        .await
}

fn next_pause(
    node: &Node,
    address: SocketAddr,
    (ended, lasted): (Ended, Duration),
    pause: &mut Pause,
) -> Duration {
    let count = |outcome| node.metrics.attaches.with_label_values(&[outcome]).inc();
    match ended {
        Ended::Lost(scheduler, reason) => {
            count("attached");
            tracing::info!(%scheduler, %address, "attach stream lost: {reason}");
            if lasted >= WORKED {
                pause.reset();
            }
            pause.next()
        }
        Ended::Superseded => {
            count("superseded");
            pause.reset();
            pause.next()
        }
        Ended::Unreachable(error) => {
            count("unreachable");
            tracing::debug!(%address, "cannot reach a scheduler: {}", with_sources(&error));
            pause.next()
        }
        Ended::Refused(status) => {
            count("refused");
            tracing::error!(
                %address,
                code = ?status.code(),
                "the scheduler refused to attach this executor: {}; both must be of the same \
                 version",
                status.message()
            );
            pause.after_refusal()
        }
        Ended::Broken(reason) => {
            count("broken");
            tracing::warn!(%address, "attaching failed: {reason}");
            pause.next()
        }
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_is_lost_as_it_begins_is_not_dialed_again_and_again_at_once() {
        let node = Node::idle();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut pause = Pause::default();
        let mut lost_after = |lasted| {
            let ended = Ended::Lost(SchedulerId::new("a"), "it cannot be read".to_string());
            next_pause(&node, address, (ended, lasted), &mut pause)
        };
        assert_eq!(lost_after(Duration::ZERO), Duration::ZERO, "once it is");
        let pauses: Vec<_> = (0..20).map(|_| lost_after(Duration::ZERO)).collect();
        assert!(pauses[0] > Duration::ZERO);
        assert!(pauses[19] >= Duration::from_millis(500), "{pauses:?}");
        assert_eq!(lost_after(WORKED), Duration::ZERO, "it worked");
    }
}
