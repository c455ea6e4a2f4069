//! What of each query goes into the journal, and when.
//!
//! ```text
//!   accepted ──► waits for the linger ──► in the journal ──► stages formed, finished ──► over
//!                     │
//!                     └─ ended before: withdrawn, and nothing of it is ever written
//! ```
//!
//! A query starts without waiting for its record: what the journal does not have yet is lost with the
//! scheduler, and run afresh for the client that asks again. Only what a client was promised is waited
//! for ([`Scribe::durable`]).

use std::collections::HashMap;
use std::time::Duration;

use paceline_model::{Epoch, QueryId, SchedulerId};
use paceline_proto::state::Record;
use paceline_proto::state::record::Record as Kind;
use paceline_store::{AppendError, Deferred, Journal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// How long the record of a query's end may wait for others to go with: nobody waits for it.
const END_LINGER: Duration = Duration::from_secs(1);

/// Records after which the journal is made short again, if half of it goes.
const COMPACT_AFTER: usize = 1024;

type Told = oneshot::Sender<Result<(), AppendError>>;

/// Something to note down.
#[derive(Debug)]
enum Note {
    /// A step of a query, worth a segment of its own after `linger`.
    Step {
        query: QueryId,
        record: Box<Record>,
        linger: Duration,
    },
    /// A record that somebody waits for, for the journal of that scheduler and no other.
    Durable {
        journal: SchedulerId,
        query: QueryId,
        record: Box<Record>,
        told: Told,
    },
    /// The query has its outcome: if nothing of it was written, nothing needs to be.
    Settled { query: QueryId },
    /// Nobody needs the query any more.
    Over { query: QueryId, record: Box<Record> },
    /// The query that is in the journal of that scheduler turned out to be somebody else's at that epoch.
    Forget {
        journal: SchedulerId,
        query: QueryId,
        epoch: Epoch,
    },
    /// Everything that waits is to be written now.
    Flush { told: Told },
    /// What ended queries left is to go, if there is any.
    Shorten,
    /// From now on this journal is written; who begins it is told when there is something to write.
    Begin {
        journal: Journal,
        first: oneshot::Sender<()>,
    },
}

/// Notes things down, in the order in which they are told. Cheap to clone.
///
/// Telling never waits, because it happens under the driver's lock. What is under way is bounded by
/// the queries that run.
#[derive(Debug, Clone)]
pub(crate) struct Scribe {
    notes: mpsc::UnboundedSender<Note>,
}

/// What was written of a query so far.
#[derive(Debug)]
enum Written {
    /// Perhaps nothing: these may still be withdrawn.
    Perhaps(Vec<Deferred>),
    /// Something, at that epoch at last.
    Something(Epoch),
    /// Nothing, and nothing will be.
    Nothing,
}

impl Scribe {
    /// A scribe and the task that writes; it runs until the last scribe is gone.
    pub(crate) fn new(journal: Journal) -> (Self, impl Future<Output = ()> + Send) {
        let (notes, inbox) = mpsc::unbounded_channel();
        let desk = Desk {
            journal,
            first: None,
            queries: HashMap::new(),
            shortening: None,
        };
        (Scribe { notes }, desk.run(inbox))
    }

    // The task ends with the scheduler; what is told after that is told to nobody.
    fn tell(&self, note: Note) {
        let _ = self.notes.send(note);
    }

    /// A step of a query.
    pub(crate) fn step(&self, query: QueryId, record: Record, linger: Duration) {
        let record = Box::new(record);
        self.tell(Note::Step {
            query,
            record,
            linger,
        });
    }

    /// Writes a record into the journal of `me` and waits until it is durable. What is claimed for a
    /// record is claimed in the name of its journal, so it goes into no later one.
    ///
    /// # Errors
    /// [`AppendError`] if it is not known to be.
    pub(crate) async fn durable(
        &self,
        me: &SchedulerId,
        query: QueryId,
        record: Record,
    ) -> Result<(), AppendError> {
        let (told, durable) = oneshot::channel();
        let record = Box::new(record);
        self.tell(Note::Durable {
            journal: me.clone(),
            query,
            record,
            told,
        });
        durable.await.unwrap_or(Err(AppendError::Stopped))
    }

    /// The query has its outcome.
    pub(crate) fn settled(&self, query: QueryId) {
        self.tell(Note::Settled { query });
    }

    /// Nobody needs the query any more; `record` says how it ended.
    pub(crate) fn over(&self, query: QueryId, record: Record) {
        let record = Box::new(record);
        self.tell(Note::Over { query, record });
    }

    /// The query in the journal of `me` turned out to be somebody else's at that epoch. What was recorded
    /// of it at a later one stays.
    pub(crate) fn forget(&self, me: &SchedulerId, query: QueryId, epoch: Epoch) {
        let journal = me.clone();
        self.tell(Note::Forget {
            journal,
            query,
            epoch,
        });
    }

    /// Writes everything that waits, and something in any case.
    ///
    /// # Errors
    /// [`AppendError`] if it is not known to be durable.
    pub(crate) async fn flush(&self) -> Result<(), AppendError> {
        let (told, durable) = oneshot::channel();
        self.tell(Note::Flush { told });
        durable.await.unwrap_or(Err(AppendError::Stopped))
    }

    /// Makes the journal short, if that is worth a snapshot.
    pub(crate) fn shorten(&self) {
        self.tell(Note::Shorten);
    }

    /// Writes into another journal from now on; what the former one held is not carried over. What is
    /// returned tells when there is something to write into it.
    pub(crate) fn begin(&self, journal: Journal) -> oneshot::Receiver<()> {
        let (first, told) = oneshot::channel();
        self.tell(Note::Begin { journal, first });
        told
    }
}

struct Desk {
    journal: Journal,
    /// Whom to tell of the first record for the journal.
    first: Option<oneshot::Sender<()>>,
    queries: HashMap<QueryId, Written>,
    /// While the store is away snapshots would wait, one after the other.
    shortening: Option<JoinHandle<()>>,
}

impl Desk {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Note>) {
        while let Some(note) = inbox.recv().await {
            self.note(note).await;
            if self.journal.grown_by().is_long(COMPACT_AFTER) {
                self.shorten();
            }
        }
    }

    async fn note(&mut self, note: Note) {
        match note {
            Note::Step {
                query,
                record,
                linger,
            } => self.step(query, *record, linger).await,
            Note::Durable { journal, told, .. } if journal != *self.journal.scheduler() => {
                // Who asked may be gone.
                let _ = told.send(Err(AppendError::Stopped));
            }
            Note::Durable {
                query,
                record,
                told,
                ..
            } => {
                let epoch = epoch_of(&record);
                self.queries.insert(query, Written::Something(epoch));
                self.begin_writing();
                let deferred = self.journal.defer(*record, Duration::ZERO).await;
                tokio::spawn(async move {
                    let durable = match deferred {
                        Ok(deferred) => deferred.durable().await.map(drop),
                        Err(error) => Err(error),
                    };
                    // Who asked may be gone.
                    let _ = told.send(durable);
                });
            }
            Note::Settled { query } => self.settled(query).await,
            Note::Over { query, record } => {
                let written = match self.queries.remove(&query) {
                    None | Some(Written::Nothing) => false,
                    Some(Written::Perhaps(all)) => !Deferred::withdraw(all).await,
                    Some(Written::Something(_)) => true,
                };
                if written {
                    self.append(*record, END_LINGER).await;
                }
            }
            Note::Forget {
                journal,
                query,
                epoch,
            } => {
                if journal != *self.journal.scheduler() {
                    return;
                }
                let later =
                    matches!(self.queries.get(&query), Some(Written::Something(at)) if *at > epoch);
                if !later {
                    self.queries.remove(&query);
                }
                // A journal that is over has no snapshots to leave it out of.
                let _ = self.journal.forget(query, epoch).await;
            }
            Note::Flush { told } => {
                let journal = self.journal.clone();
                tokio::spawn(async move {
                    // Who asked may be gone.
                    let _ = told.send(journal.flush().await);
                });
            }
            Note::Shorten => {
                // What was withdrawn counts among what was noted, and not among what was written.
                if self.journal.grown_by().is_worth_shortening() {
                    self.shorten();
                }
            }
            Note::Begin { journal, first } => {
                self.journal = journal;
                self.first = Some(first);
                self.queries.clear();
                self.shortening = None;
            }
        }
    }

    async fn step(&mut self, query: QueryId, record: Record, linger: Duration) {
        match self.queries.get(&query) {
            Some(Written::Nothing) => return,
            Some(Written::Perhaps(_)) if linger.is_zero() => {
                self.queries
                    .insert(query, Written::Something(epoch_of(&record)));
            }
            Some(_) => {}
            None => {
                self.queries.insert(query, Written::Perhaps(Vec::new()));
            }
        }
        self.begin_writing();
        // A closed journal writes nothing any more; whoever must know learns it from the journal.
        let Ok(deferred) = self.journal.defer(record, linger).await else {
            return;
        };
        if let Some(Written::Perhaps(all)) = self.queries.get_mut(&query) {
            all.push(deferred);
        }
    }

    async fn settled(&mut self, query: QueryId) {
        let Some(Written::Perhaps(all)) = self.queries.get_mut(&query) else {
            return;
        };
        let withdrawn = Deferred::withdraw(std::mem::take(all)).await;
        let written = match withdrawn {
            true => Written::Nothing,
            false => Written::Something(Epoch(0)),
        };
        self.queries.insert(query, written);
    }

    /// There is a record to be written.
    fn begin_writing(&mut self) {
        if let Some(first) = self.first.take() {
            // Who asked may be gone.
            let _ = first.send(());
        }
    }

    async fn append(&mut self, record: Record, linger: Duration) {
        self.begin_writing();
        // See `step`.
        let _ = self.journal.defer(record, linger).await;
    }

    /// Makes the journal short, unless that is under way.
    fn shorten(&mut self) {
        let under_way = |task: &JoinHandle<()>| !task.is_finished();
        if !self.shortening.as_ref().is_some_and(under_way) {
            self.shortening = Some(self.compact());
        }
    }

    /// Makes the journal short; the snapshot takes everything along that waits.
    fn compact(&self) -> JoinHandle<()> {
        let journal = self.journal.clone();
        tokio::spawn(async move {
            // See `step`.
            if let Ok(Err(error)) = journal.compact().await {
                tracing::warn!(%error, "segments that a snapshot stands for could not be removed");
            }
        })
    }
}

/// At which epoch a record has it that the journal holds its query.
fn epoch_of(record: &Record) -> Epoch {
    match &record.record {
        Some(Kind::Adopted(adopted)) => Epoch(adopted.epoch),
        _ => Epoch(0),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use paceline_proto::query_bytes;
    use paceline_proto::state::record::Record as Kind;
    use paceline_proto::state::{Finished, Statement};
    use uuid::Uuid;

    use super::*;
    use crate::testing::{journal, journals};
    use crate::written;

    /// What is claimed for a record is claimed in the name that decided on it.
    #[tokio::test]
    async fn a_record_goes_into_no_later_journal_than_it_was_meant_for() {
        let directory = tempfile::tempdir().unwrap();
        let journals = journals(directory.path());
        let [former, present] = ["former", "present"].map(SchedulerId::new);
        let begin = |id: &SchedulerId| journal(&journals, id);
        let (scribe, writing) = Scribe::new(begin(&former));
        tokio::spawn(writing);
        let accepted = |n: u8| {
            let query = QueryId::from_slice(&[n; 16]).unwrap();
            (query, written::accepted(query, Default::default()))
        };
        let (first, record) = accepted(1);
        scribe.durable(&former, first, record).await.unwrap();
        let mut needed = scribe.begin(begin(&present));
        let (late, record) = accepted(2);
        assert!(scribe.durable(&former, late, record).await.is_err());
        assert!(needed.try_recv().is_err(), "nothing is written yet");
        let (second, record) = accepted(3);
        scribe.durable(&present, second, record).await.unwrap();
        assert_eq!(needed.try_recv(), Ok(()));
        for (journal, holds) in [(former, first), (present, second)] {
            let replayed = journals.replay(&journal).await.unwrap();
            let held: Vec<QueryId> = replayed.book.queries().map(|(query, _)| query).collect();
            assert_eq!(held, [holds], "{journal}");
        }
    }

    /// What the journal holds, as it lies there.
    fn segments(directory: &Path, of: &SchedulerId) -> Vec<Vec<u8>> {
        let folder = directory.join("journal").join(of.as_str());
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        files
            .map(|file| std::fs::read(file.path()).unwrap_or_default())
            .collect()
    }

    fn says(segments: &[Vec<u8>], text: &str) -> bool {
        let within = |bytes: &Vec<u8>| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        segments.iter().any(within)
    }

    #[tokio::test]
    async fn what_was_withdrawn_makes_no_journal_long() {
        let directory = tempfile::tempdir().unwrap();
        let journals = journals(directory.path());
        let me = SchedulerId::new("me");
        let (scribe, writing) = Scribe::new(journal(&journals, &me));
        tokio::spawn(writing);
        let accepted = |n: usize| {
            let query = QueryId(Uuid::from_u128(n as u128));
            (query, written::accepted(query, Statement::default()))
        };
        for n in 1..=2 * COMPACT_AFTER {
            let (query, record) = accepted(n);
            scribe.step(query, record, Duration::from_secs(3600));
            scribe.settled(query);
        }
        let (query, record) = accepted(0);
        scribe.durable(&me, query, record).await.unwrap();
        assert_eq!(journals.replay(&me).await.unwrap().next, 1);
    }

    /// A beat passes, and whether the journal is open is asked: neither writes all of it once more.
    #[tokio::test]
    async fn a_large_journal_is_not_written_again_for_little() {
        let directory = tempfile::tempdir().unwrap();
        let journals = journals(directory.path());
        let me = SchedulerId::new("me");
        let (scribe, writing) = Scribe::new(journal(&journals, &me));
        tokio::spawn(writing);
        let query = |n: u8| QueryId::from_slice(&[n; 16]).unwrap();
        for (n, size) in [(1, 2 << 20), (2, 10)] {
            let statement = Statement {
                sql: "x".repeat(size),
                ..Statement::default()
            };
            let record = written::accepted(query(n), statement);
            scribe.durable(&me, query(n), record).await.unwrap();
        }
        scribe.shorten();
        scribe.flush().await.unwrap();
        scribe.flush().await.unwrap();
        let replayed = journals.replay(&me).await.unwrap();
        assert_eq!((replayed.base, replayed.next), (0, 4));
    }

    #[tokio::test]
    async fn what_ended_goes_from_a_journal_that_is_to_be_short() {
        let directory = tempfile::tempdir().unwrap();
        let journals = journals(directory.path());
        let me = SchedulerId::new("me");
        let (scribe, writing) = Scribe::new(journal(&journals, &me));
        tokio::spawn(writing);
        let query = |n: u8| QueryId::from_slice(&[n; 16]).unwrap();
        let accepted = |n: u8| {
            let statement = Statement {
                sql: format!("SELECT {n}"),
                ..Statement::default()
            };
            written::accepted(query(n), statement)
        };
        // A query that ended within its linger is noted and withdrawn.
        let linger = Duration::from_secs(3600);
        scribe.step(query(9), accepted(9), linger);
        scribe.settled(query(9));
        scribe.shorten();
        for n in 1..=3 {
            scribe.durable(&me, query(n), accepted(n)).await.unwrap();
        }
        let replayed = journals.replay(&me).await.unwrap();
        assert_eq!(replayed.next, 3, "there was nothing to make shorter");

        for n in [1, 3] {
            let finished = Kind::Finished(Finished {
                query: query_bytes(query(n)),
                ..Finished::default()
            });
            let record = Some(finished);
            scribe.over(query(n), Record { record });
        }
        let short = async {
            loop {
                scribe.shorten();
                let left = segments(directory.path(), &me);
                if left.len() == 1 && !says(&left, "SELECT 1") && !says(&left, "SELECT 3") {
                    return left;
                }
                tokio::task::yield_now().await;
            }
        };
        let left = tokio::time::timeout(Duration::from_secs(60), short).await;
        assert!(says(&left.unwrap(), "SELECT 2"), "it has not ended");
    }
}
