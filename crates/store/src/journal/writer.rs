//! The writing end of one's own journal: a task around [`Appender`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use paceline_core::Now;
use paceline_core::ownership::{AppendOptions, Closed, Ticket};
use paceline_model::{Epoch, QueryId, SchedulerId};
use paceline_proto::state::Record;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::{AppendError, JournalError, Journals};

mod grown;
mod task;

pub use grown::Grown;
use task::{Command, Content, Writer};

/// Limits of a journal's writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    /// Limits of segments and patience.
    pub append: AppendOptions,
    /// Records that may wait for the writer's attention; further ones wait to get in.
    pub queue: usize,
    /// How long to wait before a segment of unknown fate is sent again.
    pub retry_after: Duration,
}

impl Default for JournalOptions {
    fn default() -> Self {
        JournalOptions {
            append: AppendOptions::default(),
            queue: 1024,
            retry_after: Duration::from_millis(200),
        }
    }
}

/// One's own journal. Cheap to clone; the writer stops when the last clone is gone.
#[derive(Debug, Clone)]
pub struct Journal {
    scheduler: SchedulerId,
    journals: Journals,
    commands: mpsc::Sender<Command>,
    closed: watch::Receiver<Option<Closed>>,
    tickets: Arc<AtomicU64>,
    grown: Arc<Mutex<Grown>>,
    started: Instant,
}

impl Journal {
    /// Begins the journal of a scheduler that has none: its first segment is number 0. The writer
    /// runs as a task of its own.
    pub fn begin(scheduler: SchedulerId, journals: Journals, options: JournalOptions) -> Self {
        let (commands, inbox) = mpsc::channel(options.queue.max(1));
        let (closing, closed) = watch::channel(None);
        let grown = Arc::<Mutex<Grown>>::default();
        let started = Instant::now();
        let writer = Writer::new(
            scheduler.clone(),
            journals.clone(),
            options,
            closing,
            Arc::clone(&grown),
            started,
        );
        tokio::spawn(writer.run(inbox));
        Journal {
            scheduler,
            journals,
            commands,
            closed,
            tickets: Arc::default(),
            grown,
            started,
        }
    }

    /// Whose journal it is.
    pub fn scheduler(&self) -> &SchedulerId {
        &self.scheduler
    }

    /// Appends a record and returns the number of the segment that holds it, durably.
    ///
    /// # Errors
    /// [`AppendError`] if it is not known to be durable.
    ///
    /// # Cancel safety
    /// Dropped half way, the record may or may not be appended.
    pub async fn append(&self, record: Record) -> Result<u64, AppendError> {
        self.send(record, Duration::ZERO).await?.durable().await
    }

    /// Hands in a record that is worth a segment of its own only after `linger`; it goes earlier with
    /// others of its query, or shortly before, and can be withdrawn until then.
    ///
    /// # Errors
    /// [`AppendError`] if the journal is over.
    pub async fn defer(&self, record: Record, linger: Duration) -> Result<Deferred, AppendError> {
        self.send(record, linger).await
    }

    async fn send(&self, record: Record, linger: Duration) -> Result<Deferred, AppendError> {
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let (tell, told) = oneshot::channel();
        let command = Command::Append {
            ticket,
            content: Content::Record(Box::new(record)),
            due: Now(self.started.elapsed()).after(linger),
            tell,
        };
        self.command(command).await?;
        Ok(Deferred {
            ticket,
            told,
            commands: self.commands.clone(),
            closed: self.closed.clone(),
        })
    }

    async fn command(&self, command: Command) -> Result<(), AppendError> {
        let sent = self.commands.send(command).await;
        sent.map_err(|_| ended(&self.closed))
    }

    /// Writes a snapshot of all that is durable and removes the segments that it stands for. Returns
    /// how many went.
    ///
    /// # Errors
    /// [`AppendError`] if the snapshot did not become durable. That segments could not be removed is
    /// the inner error; the next snapshot will try again.
    pub async fn compact(&self) -> Result<Result<usize, JournalError>, AppendError> {
        let base = self.write(Content::Snapshot).await?;
        Ok(self.journals.truncate(&self.scheduler, base).await)
    }

    /// Writes all that waits, and if that is nothing, a segment without records: a journal that is over
    /// does not take it.
    ///
    /// # Errors
    /// [`AppendError`] if it is not known to be durable.
    pub async fn flush(&self) -> Result<(), AppendError> {
        self.write(Content::Nothing).await.map(drop)
    }

    /// Writes something that takes everything along that waits.
    async fn write(&self, content: Content) -> Result<u64, AppendError> {
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let (tell, told) = oneshot::channel();
        self.command(Command::Append {
            ticket,
            content,
            due: Now(self.started.elapsed()),
            tell,
        })
        .await?;
        let told = told.await.map_err(|_| ended(&self.closed))?;
        told.map_err(AppendError::Closed)
    }

    /// What was written that the last snapshot does not stand for, and what it all holds.
    pub fn grown_by(&self) -> Grown {
        *self.grown.lock()
    }

    /// Leaves a query out of further snapshots, unless it was adopted at a later epoch: the claim of this
    /// one named somebody else.
    ///
    /// # Errors
    /// [`AppendError`] if the journal is over.
    pub async fn forget(&self, query: QueryId, epoch: Epoch) -> Result<(), AppendError> {
        self.command(Command::Forget { query, epoch }).await
    }

    /// Sees the journal's end without keeping its writer running.
    pub fn ending(&self) -> JournalEnd {
        JournalEnd(self.closed.clone())
    }
}

/// The end of a journal, yet to come.
#[derive(Debug)]
pub struct JournalEnd(watch::Receiver<Option<Closed>>);

impl JournalEnd {
    /// Waits until the journal is over; `None` if the writer was stopped.
    pub async fn wait(mut self) -> Option<Closed> {
        let closed = self.0.wait_for(Option::is_some).await;
        closed.ok().and_then(|closed| closed.clone())
    }
}

fn ended(closed: &watch::Receiver<Option<Closed>>) -> AppendError {
    match &*closed.borrow() {
        Some(why) => AppendError::Closed(why.clone()),
        None => AppendError::Stopped,
    }
}

/// A record on its way into the journal.
#[derive(Debug)]
pub struct Deferred {
    ticket: Ticket,
    told: oneshot::Receiver<Result<u64, Closed>>,
    commands: mpsc::Sender<Command>,
    closed: watch::Receiver<Option<Closed>>,
}

impl Deferred {
    /// Waits until the record is durable, and returns the number of its segment.
    ///
    /// # Errors
    /// [`AppendError`] if it is not known to be durable.
    pub async fn durable(self) -> Result<u64, AppendError> {
        match self.told.await {
            Ok(told) => told.map_err(AppendError::Closed),
            Err(_) => Err(ended(&self.closed)),
        }
    }

    /// Takes these records back. True if none of them was sent, and none ever will be.
    pub async fn withdraw(all: Vec<Deferred>) -> bool {
        let Some(commands) = all.first().map(|first| first.commands.clone()) else {
            return true;
        };
        let tickets = all.iter().map(|deferred| deferred.ticket).collect();
        let (tell, told) = oneshot::channel();
        let sent = commands.send(Command::Withdraw { tickets, tell }).await;
        sent.is_ok() && told.await.unwrap_or(false)
    }
}
