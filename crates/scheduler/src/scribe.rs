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

mod desk;
#[cfg(test)]
mod tests;

use std::time::Duration;

use paceline_model::{Epoch, QueryId, SchedulerId};
use paceline_proto::state::Record;
use paceline_store::{AppendError, Journal};
use tokio::sync::{mpsc, oneshot};

use desk::Desk;

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

impl Scribe {
    /// A scribe and the task that writes; it runs until the last scribe is gone.
    pub(crate) fn new(journal: Journal) -> (Self, impl Future<Output = ()> + Send) {
        let (notes, inbox) = mpsc::unbounded_channel();
        (Scribe { notes }, Desk::of(journal).run(inbox))
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
