//! Queries between two owners: what journals hold that nobody writes any more, and which of these queries are
//! about to be this scheduler's own.
//!
//! Many clients may wait for queries of one journal, and it may be long: it is read for all of them at once,
//! and once it is sealed here not at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use paceline_model::{Epoch, QueryId, SchedulerId};
use paceline_store::{Book, JournalError, Journals};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Mutex as Gate;

/// For how long it counts what was read of a journal that is over. Until it is drained it says the same.
const KEPT: Duration = Duration::from_secs(2);

/// What is known of queries between two owners. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Passing(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    /// What those journals hold that were sealed, as far as this scheduler has a part in taking them over.
    sealed: RwLock<BTreeMap<SchedulerId, Arc<BTreeSet<QueryId>>>>,
    /// Queries that this scheduler has begun to adopt.
    coming: Mutex<BTreeSet<(QueryId, Epoch)>>,
    /// Where other journals are read.
    read: Mutex<HashMap<SchedulerId, Arc<Desk<Contents>>>>,
    undrained: Desk<Vec<SchedulerId>>,
}

/// What a journal holds.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    pub(crate) is_over: bool,
    queries: Arc<BTreeSet<QueryId>>,
}

impl Contents {
    pub(crate) fn hold(&self, query: QueryId) -> bool {
        self.queries.contains(&query)
    }
}

impl Passing {
    /// A journal was sealed that is not drained.
    pub(crate) fn sealed(&self, journal: &SchedulerId, book: &Book) {
        let queries = book.queries().map(|(query, _)| query).collect();
        let mut sealed = self.0.sealed.write();
        sealed.insert(journal.clone(), Arc::new(queries));
    }

    /// Every query of a sealed journal has another owner, or has ended.
    pub(crate) fn drained(&self, journal: &SchedulerId) {
        self.0.sealed.write().remove(journal);
    }

    /// This scheduler begins to adopt a query.
    pub(crate) fn begin(&self, query: QueryId, epoch: Epoch) {
        self.0.coming.lock().insert((query, epoch));
    }

    /// The query is there, or it is another one's.
    pub(crate) fn end(&self, query: QueryId, epoch: Epoch) {
        self.0.coming.lock().remove(&(query, epoch));
    }

    /// The journal in which adoptions are recorded is over.
    pub(crate) fn adopt_nothing(&self) {
        self.0.coming.lock().clear();
    }

    /// This scheduler begins anew, and seals again what there is to be sealed.
    pub(crate) fn begin_anew(&self) {
        self.0.sealed.write().clear();
    }

    /// Whether this scheduler is about to have the query, unless another one is faster.
    pub(crate) fn is_coming(&self, query: QueryId) -> bool {
        let coming = self.0.coming.lock();
        let mut later = coming.range((query, Epoch(0))..);
        later.next().is_some_and(|(next, _)| *next == query)
    }

    /// Whether a journal is known to hold the query that was sealed, or was read no longer ago.
    pub(crate) async fn is_held(&self, query: QueryId, age: Duration) -> bool {
        let held = |queries: &Arc<BTreeSet<QueryId>>| queries.contains(&query);
        if self.0.sealed.read().values().any(held) {
            return true;
        }
        let came = Instant::now();
        let desks: Vec<_> = self.0.read.lock().values().cloned().collect();
        for desk in desks {
            let told = desk.told(|answer| answer.begun + age >= came).await;
            if told.is_some_and(|contents| contents.hold(query)) {
                return true;
            }
        }
        false
    }

    /// What a journal holds that this scheduler does not write, as it was read no longer ago than that.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn contents(
        &self,
        journals: &Journals,
        journal: &SchedulerId,
        age: Duration,
    ) -> Result<Contents, JournalError> {
        let sealed = self.0.sealed.read().get(journal).cloned();
        if let Some(queries) = sealed {
            let is_over = true;
            return Ok(Contents { is_over, queries });
        }
        let came = Instant::now();
        let good = |answer: &Answer<Contents>| {
            let is_over = matches!(&answer.told, Ok(contents) if contents.is_over);
            answer.begun + age >= came || is_over && answer.begun + KEPT >= came
        };
        let read = async {
            let replayed = journals.replay(journal).await?;
            let queries = replayed.book.queries().map(|(query, _)| query).collect();
            Ok::<_, JournalError>(Contents {
                is_over: replayed.drained || replayed.sealed_by().is_some(),
                queries: Arc::new(queries),
            })
        };
        self.desk(journal).ask(good, read).await
    }

    /// Every scheduler whose journal is not drained.
    ///
    /// # Errors
    /// If the store cannot say.
    pub(crate) async fn undrained(
        &self,
        journals: &Journals,
    ) -> Result<Vec<SchedulerId>, JournalError> {
        let came = Instant::now();
        let list = journals.undrained();
        let good = |answer: &Answer<_>| answer.begun >= came;
        self.0.undrained.ask(good, list).await
    }

    fn desk(&self, journal: &SchedulerId) -> Arc<Desk<Contents>> {
        let mut desks = self.0.read.lock();
        desks.retain(|_, desk| Arc::strong_count(desk) > 1 || desk.is_fresh());
        Arc::clone(desks.entry(journal.clone()).or_default())
    }
}

/// Asks the store for all who want to know the same: one at a time, and who comes meanwhile waits.
#[derive(Debug)]
struct Desk<T>(Gate<Option<Answer<T>>>);

#[derive(Debug)]
struct Answer<T> {
    begun: Instant,
    told: Result<T, JournalError>,
}

impl<T> Default for Desk<T> {
    fn default() -> Self {
        Desk(Gate::new(None))
    }
}

impl<T: Clone> Desk<T> {
    /// What somebody was told before, if that is good enough; else what is told now.
    async fn ask(
        &self,
        good: impl Fn(&Answer<T>) -> bool,
        ask: impl Future<Output = Result<T, JournalError>>,
    ) -> Result<T, JournalError> {
        let mut last = self.0.lock().await;
        if let Some(answer) = last.as_ref().filter(|answer| good(answer)) {
            return answer.told.clone();
        }
        let begun = Instant::now();
        let told = ask.await;
        *last = Some(Answer {
            begun,
            told: told.clone(),
        });
        told
    }

    /// What somebody was told before, if that is good enough.
    async fn told(&self, good: impl Fn(&Answer<T>) -> bool) -> Option<T> {
        let last = self.0.lock().await;
        let answer = last.as_ref().filter(|answer| good(answer))?;
        answer.told.clone().ok()
    }

    /// Whether it may still be of use what was told last.
    fn is_fresh(&self) -> bool {
        let last = self.0.try_lock();
        last.is_ok_and(|last| {
            let answer = last.as_ref();
            answer.is_some_and(|answer| answer.begun.elapsed() < KEPT)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;
    use crate::testing::{journal, journals};
    use crate::written;

    #[tokio::test]
    async fn all_who_ask_at_once_are_told_together() {
        let (desk, asked) = (Desk::default(), AtomicUsize::new(0));
        let ask = async || {
            let came = Instant::now();
            let told = async {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok(())
            };
            desk.ask(|answer| answer.begun >= came, told).await
        };
        let told = join_all((0..100).map(|_| ask())).await;
        assert!(told.iter().all(Result::is_ok));
        // Whoever comes while somebody asks is told by the one who asks next.
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        ask().await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 3, "that was before");
    }

    #[tokio::test]
    async fn what_a_journal_holds_is_known_from_its_seal_to_its_drain() {
        let directory = tempfile::tempdir().unwrap();
        let journals = journals(directory.path());
        let [dead, by] = ["dead", "by"].map(SchedulerId::new);
        let query = |n: u8| QueryId::from_slice(&[n; 16]).unwrap();
        let own = journal(&journals, &dead);
        let accepted = written::accepted(query(1), Default::default());
        own.append(accepted).await.unwrap();

        let passing = Passing::default();
        let at_once = Duration::ZERO;
        let open = passing.contents(&journals, &dead, at_once).await.unwrap();
        assert!(!open.is_over && open.hold(query(1)));
        let accepted = written::accepted(query(2), Default::default());
        own.append(accepted).await.unwrap();
        let read = passing.contents(&journals, &dead, at_once).await.unwrap();
        assert!(read.hold(query(2)), "it is read again");

        let sealed = journals.seal(&dead, &by).await.unwrap();
        passing.sealed(&dead, &sealed.book);
        assert!(passing.is_held(query(2), at_once).await);
        assert!(!passing.is_held(query(3), at_once).await);
        // Nobody looks there any more.
        std::fs::remove_dir_all(directory.path().join("journal")).unwrap();
        let known = passing.contents(&journals, &dead, at_once).await.unwrap();
        assert!(known.is_over && known.hold(query(1)));
        passing.drained(&dead);
        assert!(!passing.is_held(query(2), at_once).await);
    }

    #[test]
    fn who_begins_to_adopt_a_query_is_about_to_have_it() {
        let passing = Passing::default();
        let query = |n: u8| QueryId::from_slice(&[n; 16]).unwrap();
        passing.begin(query(2), Epoch(3));
        assert!(passing.is_coming(query(2)));
        assert!(!passing.is_coming(query(1)) && !passing.is_coming(query(3)));
        passing.end(query(2), Epoch(2));
        assert!(passing.is_coming(query(2)), "that was another time");
        passing.end(query(2), Epoch(3));
        assert!(!passing.is_coming(query(2)));
    }
}
