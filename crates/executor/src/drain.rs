//! How an executor comes to its end, and what it does from time to time until then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::task::TaskTracker;

use crate::node::{Node, Phase};

/// How often orphaned queries are looked for. Nobody waits for it.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How long aborted attempts may take to let go of their threads.
const LAST_ATTEMPTS: Duration = Duration::from_secs(10);

/// How long streams and servers may take to end.
const LAST_STREAMS: Duration = Duration::from_secs(5);

/// Sweeps until the stop.
pub(crate) async fn keep_sweeping(node: Arc<Node>) {
    let interval = SWEEP_INTERVAL.min(node.pace.orphan_ttl / 2);
    #[expect(
        clippy::disallowed_methods,
        reason = "nobody waits for a sweep, and nobody tells that a query is an orphan"
    )]
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(10)));
    // Cancel safety: a tick is only waited for.
    loop {
        tokio::select! {
            () = node.stop.cancelled() => return,
            _ = ticks.tick() => node.sweep(Instant::now()),
        }
    }
}

/// Follows the node to its end: serves, drains if told to, and stops everything in order. `network`
/// tracks what runs on the network threads.
pub(crate) async fn supervise(node: Arc<Node>, network: TaskTracker) {
    reached(&node, Phase::Draining).await;
    if node.phase() == Phase::Draining {
        drain(&node).await;
    }
    node.enter(Phase::Stopping);
    stop_attempts(&node).await;
    // A statement of its own: whoever says how much is in use must not wait until all is removed.
    let means = node.means.lock().take();
    // Whoever reads is told so, and all streams end with the stop.
    if let Some(means) = means {
        for (id, _) in means.store.finished() {
            means.store.release(&id);
        }
    }
    node.stop.cancel();
    network.close();
    if tokio::time::timeout(LAST_STREAMS, network.wait())
        .await
        .is_err()
    {
        tracing::warn!("some streams did not end within {LAST_STREAMS:?}");
    }
    node.enter(Phase::Stopped);
    tracing::info!("stopped");
}

/// Waits until the node is in that phase or a later one.
pub(crate) async fn reached(node: &Node, phase: Phase) {
    let mut current = node.phase.subscribe();
    // The sender is in the node and cannot be gone.
    let _ = current.wait_for(|current| *current >= phase).await;
}

/// Finishes what runs and serves what is held, until no scheduler wants anything more.
#[expect(
    clippy::disallowed_methods,
    reason = "the end of patience: what is waited for is told"
)]
async fn drain(node: &Node) {
    let timeout = node.pace.drain_timeout;
    tracing::info!(?timeout, "draining");
    let mut changed = node.changed.subscribe();
    let quiet = async {
        while !node.book.lock().is_quiet() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    };
    // Cancel safety: all three only wait.
    tokio::select! {
        () = quiet => tracing::info!("drained"),
        () = tokio::time::sleep(timeout) => {
            tracing::warn!("not drained within {timeout:?}; what is left will be made again");
        }
        () = reached(node, Phase::Stopping) => {}
    }
}

async fn stop_attempts(node: &Node) {
    for attempt in node.book.lock().all_tokens() {
        attempt.cancel();
    }
    node.attempts.close();
    if tokio::time::timeout(LAST_ATTEMPTS, node.attempts.wait())
        .await
        .is_err()
    {
        tracing::warn!("some attempts did not end within {LAST_ATTEMPTS:?}");
    }
}
