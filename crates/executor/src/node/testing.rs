//! What tests need of a node.

use std::sync::Barrier;

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
