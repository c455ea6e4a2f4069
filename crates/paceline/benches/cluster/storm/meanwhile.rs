//! What goes on beside the rounds, until it is told to stop.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A task that asks and asks.
pub(super) struct Meanwhile {
    stop: CancellationToken,
    work: JoinHandle<Result<usize, String>>,
}

impl Meanwhile {
    /// Begins what `work` makes of the token that will tell it to stop.
    pub(super) fn begin<W>(work: impl FnOnce(CancellationToken) -> W) -> Meanwhile
    where
        W: Future<Output = Result<usize, String>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let work = tokio::spawn(work(stop.clone()));
        Meanwhile { stop, work }
    }

    /// Ends it, and says how much was asked and answered rightly.
    pub(super) async fn end(self) -> Result<usize, String> {
        self.stop.cancel();
        let asked = self.work.await.map_err(|error| error.to_string())?;
        asked.map_err(|problem| format!("meanwhile: {problem}"))
    }
}
