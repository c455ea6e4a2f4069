//! What it takes to write, read and take over journals.

use std::sync::Arc;
use std::time::Duration;

use paceline_core::ownership::SuspicionOptions;
use paceline_model::SchedulerId;
use paceline_store::{Claims, Garbage, Journal, JournalOptions, Journals, Results};
use tokio::sync::Semaphore;

use crate::news::News;
use crate::passing::Passing;
use crate::shared::Shared;

/// The journals and claims of the cluster, and how patient to be with them. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Journaling {
    pub(crate) journals: Journals,
    pub(crate) claims: Claims,
    pub(crate) results: Results,
    pub(crate) garbage: Garbage,
    /// What is known of queries between two owners.
    pub(crate) passing: Passing,
    /// Takeovers ask about as many single queries at a time.
    pub(crate) asking: Arc<Semaphore>,
    /// And claim as many.
    pub(crate) claiming: Arc<Semaphore>,
    pub(crate) options: JournalOptions,
    pub(crate) suspicion: SuspicionOptions,
    /// How long a query of a sealed journal is left to each scheduler that goes before this one.
    pub(crate) patience: Duration,
}

impl Journaling {
    /// Opens the journal of a new id.
    pub(crate) fn open(&self, id: SchedulerId) -> Journal {
        Journal::begin(id, self.journals.clone(), self.options)
    }

    /// Has the scribe write into the journal of a new id. Its first record will be news, and its end.
    pub(crate) fn begin(&self, shared: &Arc<Shared>, id: SchedulerId) {
        let journal = self.open(id.clone());
        self.watch(shared, &journal);
        let first = shared.driver.scribe.begin(journal);
        let telling = Arc::clone(shared);
        shared.spawn_until_stopped(async move {
            if first.await.is_ok() {
                telling.driver.newsroom.tell(News::Needed(id));
            }
        });
    }

    /// Makes news of a journal's end. Without its writer nothing would become durable, nor would the
    /// scheduler know when others take over: it stops.
    pub(crate) fn watch(&self, shared: &Arc<Shared>, journal: &Journal) {
        let (telling, id) = (Arc::clone(shared), journal.scheduler().clone());
        let ended = journal.ending();
        // A scheduler that stops is not fenced any more.
        shared.spawn_until_stopped(async move {
            match ended.wait().await {
                Some(why) => telling.driver.newsroom.tell(News::Closed(id, why)),
                None if id == telling.driver.me() => {
                    tracing::error!(scheduler = %id, "the journal has no writer any more: stopping");
                    telling.stop.cancel();
                }
                None => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::testing::shared;

    #[tokio::test]
    async fn a_scheduler_stops_when_nobody_writes_its_journal_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let journal = shared.journaling.open(shared.driver.me());
        shared.journaling.watch(&shared, &journal);
        tokio::task::yield_now().await;
        assert!(!shared.stop.is_cancelled());
        drop(journal);
        let stopped = tokio::time::timeout(Duration::from_secs(60), shared.stop.cancelled());
        stopped.await.unwrap();
    }
}
