//! What tests need of a node.

use std::sync::Barrier;

use prometheus::Registry;
use tokio::sync::mpsc::UnboundedSender;

use super::*;

/// Open, unless a test has closed it.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: Mutex<Option<(UnboundedSender<()>, Arc<Barrier>)>>,
}

impl Gate {
    /// Whoever comes next says so and waits at the barrier.
    pub(crate) fn close(&self, arrived: UnboundedSender<()>, barrier: Arc<Barrier>) {
        *self.closed.lock() = Some((arrived, barrier));
    }

    pub(super) fn pass(&self) {
        let closed = self.closed.lock().take();
        if let Some((arrived, barrier)) = closed {
            let _ = arrived.send(());
            barrier.wait();
        }
    }
}

impl Node {
    /// One that runs nothing and holds nothing, within the runtime of a test.
    pub(crate) fn idle() -> Arc<Self> {
        let second = Duration::from_secs(1);
        Arc::new(Node {
            identity: Identity {
                executor: ExecutorId::new("x"),
                address: "127.0.0.1:1".to_string(),
                zone: String::new(),
                memory: ByteSize(0),
            },
            pace: Pace {
                heartbeat: second,
                drain_timeout: second,
                orphan_ttl: second,
                draining_orphan_ttl: second,
            },
            read_budget: ByteSize(0),
            means: Mutex::new(None),
            slots: Slots::new(1, 1),
            book: Mutex::new(Book::default()),
            changed: watch::Sender::new(()),
            phase: watch::Sender::new(Phase::Serving),
            metrics: Metrics::register(&Registry::new()).unwrap(),
            query_threads: Handle::current(),
            attempts: TaskTracker::new(),
            stop: CancellationToken::new(),
            gate: Gate::default(),
        })
    }
}
