//! Turns at the machine.
//!
//! Most of what these tests do is waiting: until a result has been kept for its time, until a scheduler
//! was silent for long enough. So more of them may be under way than there are cores (`RUST_TEST_THREADS`).
//! Those that compute take turns, as many at a time as there are cores, so that clusters find a machine that
//! is no busier than if only so many were there.

use std::num::NonZero;
use std::sync::{LazyLock, Mutex};
use std::thread::available_parallelism;

use tokio::sync::{Semaphore, SemaphorePermit};

static TURNS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(2, NonZero::get)));

/// The turn of one test, until it gives it away or is over.
pub(crate) struct Turn(Mutex<Option<SemaphorePermit<'static>>>);

impl Turn {
    /// Waits for one.
    pub(crate) async fn take() -> Turn {
        Turn(Mutex::new(Some(next().await)))
    }

    /// Gives it away: what follows is waiting.
    pub(crate) fn end(&self) {
        *self.0.lock().unwrap() = None;
    }

    /// Gives it away while the test waits, and takes another one after that, however long that takes.
    pub(crate) async fn aside<T>(&self, waiting: impl Future<Output = T>) -> T {
        self.end();
        let waited = waiting.await;
        let next = next().await;
        *self.0.lock().unwrap() = Some(next);
        waited
    }
}

async fn next() -> SemaphorePermit<'static> {
    TURNS.acquire().await.unwrap()
}
