//! What the scribe's notes come to: records that are written, withdrawn or left out.

use std::collections::HashMap;
use std::time::Duration;

use paceline_model::{Epoch, QueryId};
use paceline_proto::state::Record;
use paceline_proto::state::record::Record as Kind;
use paceline_store::{AppendError, Deferred, Journal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::{Note, Told};

/// How long the record of a query's end may wait for others to go with: nobody waits for it.
const END_LINGER: Duration = Duration::from_secs(1);

/// Records after which the journal is made short again, if half of it goes.
pub(super) const COMPACT_AFTER: usize = 1024;

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

/// Writes what is noted.
pub(super) struct Desk {
    journal: Journal,
    /// Whom to tell of the first record for the journal.
    first: Option<oneshot::Sender<()>>,
    queries: HashMap<QueryId, Written>,
    /// While the store is away snapshots would wait, one after the other.
    shortening: Option<AbortHandle>,
    /// What waits for the store, while further notes are taken. It ends with the desk.
    under_way: JoinSet<()>,
}

impl Desk {
    pub(super) fn of(journal: Journal) -> Self {
        Desk {
            journal,
            first: None,
            queries: HashMap::new(),
            shortening: None,
            under_way: JoinSet::new(),
        }
    }

    /// Writes for as long as there is a scribe.
    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Note>) {
        while let Some(note) = inbox.recv().await {
            // What is done needs no place any more.
            while self.under_way.try_join_next().is_some() {}
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
            } => self.durable(query, *record, told).await,
            Note::Settled { query } => self.settled(query).await,
            Note::Over { query, record } => self.over(query, *record).await,
            Note::Forget {
                journal,
                query,
                epoch,
            } if journal == *self.journal.scheduler() => self.forget(query, epoch).await,
            Note::Forget { .. } => {}
            Note::Flush { told } => {
                let journal = self.journal.clone();
                self.under_way.spawn(async move {
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

    async fn durable(&mut self, query: QueryId, record: Record, told: Told) {
        let epoch = epoch_of(&record);
        self.queries.insert(query, Written::Something(epoch));
        self.begin_writing();
        let deferred = self.journal.defer(record, Duration::ZERO).await;
        self.under_way.spawn(async move {
            let durable = match deferred {
                Ok(deferred) => deferred.durable().await.map(drop),
                Err(error) => Err(error),
            };
            // Who asked may be gone.
            let _ = told.send(durable);
        });
    }

    async fn over(&mut self, query: QueryId, record: Record) {
        let written = match self.queries.remove(&query) {
            None | Some(Written::Nothing) => false,
            Some(Written::Perhaps(all)) => !Deferred::withdraw(all).await,
            Some(Written::Something(_)) => true,
        };
        if written {
            self.begin_writing();
            // See `step`.
            let _ = self.journal.defer(record, END_LINGER).await;
        }
    }

    async fn forget(&mut self, query: QueryId, epoch: Epoch) {
        let known = self.queries.get(&query);
        let later = matches!(known, Some(Written::Something(at)) if *at > epoch);
        if !later {
            self.queries.remove(&query);
        }
        // A journal that is over has no snapshots to leave it out of.
        let _ = self.journal.forget(query, epoch).await;
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

    /// Makes the journal short, unless that is under way; the snapshot takes everything along that waits.
    fn shorten(&mut self) {
        let under_way = |task: &AbortHandle| !task.is_finished();
        if self.shortening.as_ref().is_some_and(under_way) {
            return;
        }
        let journal = self.journal.clone();
        self.shortening = Some(self.under_way.spawn(async move {
            // See `step`.
            if let Ok(Err(error)) = journal.compact().await {
                tracing::warn!(%error, "segments that a snapshot stands for could not be removed");
            }
        }));
    }
}

/// At which epoch a record has it that the journal holds its query.
fn epoch_of(record: &Record) -> Epoch {
    match &record.record {
        Some(Kind::Adopted(adopted)) => Epoch(adopted.epoch),
        _ => Epoch(0),
    }
}
