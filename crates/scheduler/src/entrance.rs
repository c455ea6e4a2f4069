//! Who is being accepted. A scheduler that leaves lets those through who have begun, and nobody else: then
//! all that it has accepted is in its journal before that is sealed, and goes to the next owner with it.

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// What statements go through while they are planned and made durable.
#[derive(Debug, Default)]
pub(crate) struct Entrance(TaskTracker);

/// Somebody is being accepted for as long as this lives.
#[derive(Debug)]
pub(crate) struct Entering(#[expect(dead_code, reason = "held, not used")] TaskTrackerToken);

impl Entrance {
    /// None once it is closed.
    pub(crate) fn enter(&self) -> Option<Entering> {
        // It comes before the look: whoever waits until nobody is within sees it, or it is sent away.
        let entering = Entering(self.0.token());
        match self.0.is_closed() {
            true => None,
            false => Some(entering),
        }
    }

    /// Lets nobody in any more.
    pub(crate) fn close(&self) {
        self.0.close();
    }

    /// Waits until it is closed and nobody is within.
    pub(crate) async fn is_empty(&self) {
        self.0.wait().await;
    }
}
