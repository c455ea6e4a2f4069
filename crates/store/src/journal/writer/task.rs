//! The task that owns the appender and the one create under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use paceline_core::Now;
use paceline_core::ownership::{Append, AppendAction, AppendOutcome, Appender, Closed, Ticket};
use paceline_model::{Epoch, QueryId, SchedulerId};
use paceline_proto::state::Record;
use paceline_proto::state::record::Record as Kind;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::grown::Sizes;
use super::{Grown, JournalOptions};
use crate::journal::segment::{self, folder};
use crate::journal::{Book, Journals, salvage};
use crate::{Created, StoreError};

type Tell = oneshot::Sender<Result<u64, Closed>>;

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Command {
    Append {
        ticket: Ticket,
        content: Content,
        due: Now,
        tell: Tell,
    },
    Withdraw {
        tickets: Vec<Ticket>,
        tell: oneshot::Sender<bool>,
    },
    Forget {
        query: QueryId,
        epoch: Epoch,
    },
}

/// What is appended. A snapshot is made when it is sent: by then all that is durable is in the book,
/// and nothing else is under way.
#[derive(Debug)]
pub(super) enum Content {
    Record(Box<Record>),
    Snapshot,
    /// It takes along what waits.
    Nothing,
}

#[derive(Debug)]
struct Waiter {
    due: Now,
    tell: Tell,
}

/// The segment under way.
#[derive(Debug)]
struct Segment {
    seq: u64,
    append: Uuid,
    body: Bytes,
    records: Vec<Record>,
    /// What was to be forgotten since it was sent.
    forgotten: Vec<(QueryId, Epoch)>,
}

pub(super) struct Writer {
    scheduler: SchedulerId,
    journals: Journals,
    retry_after: Duration,
    appender: Appender<Content>,
    book: Book,
    waiters: BTreeMap<Ticket, Waiter>,
    segment: Option<Segment>,
    sending: Option<BoxFuture<'static, AppendOutcome>>,
    wake: Option<Now>,
    closing: watch::Sender<Option<Closed>>,
    grown: Arc<Mutex<Grown>>,
    sizes: Sizes,
    started: Instant,
}

impl Writer {
    pub(super) fn new(
        scheduler: SchedulerId,
        journals: Journals,
        options: JournalOptions,
        closing: watch::Sender<Option<Closed>>,
        grown: Arc<Mutex<Grown>>,
        started: Instant,
    ) -> Self {
        Writer {
            scheduler,
            journals,
            retry_after: options.retry_after,
            appender: Appender::new(0, options.append),
            book: Book::default(),
            waiters: BTreeMap::new(),
            segment: None,
            sending: None,
            wake: None,
            closing,
            grown,
            sizes: Sizes::default(),
            started,
        }
    }

    fn now(&self) -> Now {
        Now(self.started.elapsed())
    }

    /// Runs until the journal is over, or nobody can append any more and nothing is under way.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut open = true;
        while self.appender.closed().is_none() && (open || self.is_busy()) {
            let wake = self.wake.and_then(|at| self.started.checked_add(at.0));
            // Cancel safety: the create under way lives in `self.sending` and is only borrowed here;
            // receiving loses nothing when another branch wins.
            tokio::select! {
                biased;
                outcome = sent(&mut self.sending) => {
                    self.sending = None;
                    self.count(&outcome);
                    self.feed(Append::Outcome(outcome));
                }
                command = inbox.recv(), if open => match command {
                    Some(command) => self.obey(command),
                    None => open = false,
                },
                () = at(wake) => {
                    self.wake = None;
                    self.feed(Append::Tick);
                }
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.sending.is_some() || self.appender.waiting() > 0
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Append {
                ticket,
                content,
                due,
                tell,
            } => {
                let (query, bytes) = match &content {
                    Content::Record(record) => (salvage::query_named(record), record.encoded_len()),
                    Content::Snapshot | Content::Nothing => (None, 0),
                };
                self.waiters.insert(ticket, Waiter { due, tell });
                self.feed(Append::Record {
                    ticket,
                    query,
                    record: content,
                    bytes,
                    due,
                });
            }
            Command::Withdraw { tickets, tell } => {
                let withdrawn = self.feed(Append::Withdraw { tickets });
                // Who asked may be gone.
                let _ = tell.send(withdrawn);
            }
            Command::Forget { query, epoch } => {
                self.forget(query, epoch);
                // What is under way may be a snapshot that has it, or the record that it is of.
                if let Some(segment) = &mut self.segment {
                    segment.forgotten.push((query, epoch));
                }
            }
        }
    }

    /// Tells the appender and does what it says. Returns whether records were withdrawn.
    fn feed(&mut self, event: Append<Content>) -> bool {
        let mut withdrawn = false;
        for action in self.appender.handle(event, self.now()) {
            match action {
                AppendAction::Send { seq, records } => self.send(seq, records),
                AppendAction::SendAgain => self.create(self.retry_after),
                AppendAction::Durable { seq, tickets } => self.durable(seq, tickets),
                AppendAction::Withdrawn { tickets } => {
                    withdrawn = true;
                    for ticket in tickets {
                        self.waiters.remove(&ticket);
                    }
                }
                AppendAction::Close(why) => self.close(&why),
                AppendAction::WakeAt(at) => self.wake = Some(at),
            }
        }
        withdrawn
    }

    fn send(&mut self, seq: u64, contents: Vec<Content>) {
        let record = |content| match content {
            Content::Record(record) => Some(*record),
            Content::Snapshot => Some(self.book.snapshot()),
            Content::Nothing => None,
        };
        let records: Vec<Record> = contents.into_iter().filter_map(record).collect();
        let (append, body) = segment::encode(records.clone());
        self.segment = Some(Segment {
            seq,
            append,
            body,
            records,
            forgotten: Vec::new(),
        });
        self.create(Duration::ZERO);
    }

    /// Sends the segment under way, after a moment.
    fn create(&mut self, pause: Duration) {
        let Some(Segment {
            seq, append, body, ..
        }) = &self.segment
        else {
            return;
        };
        let key = folder(&self.scheduler).numbered(*seq);
        let (store, append, body) = (self.journals.store().clone(), *append, body.clone());
        let create = async move {
            if !pause.is_zero() {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "before the same segment is sent again"
                )]
                tokio::time::sleep(pause).await;
            }
            match store.create(&key, &body).await {
                Ok(Created::Won) => AppendOutcome::Won,
                Ok(Created::Exists(there)) => match segment::decode(&store, &key, &there) {
                    // An earlier send of the same bytes.
                    Ok(found) if found.segment.append == append.as_bytes()[..] => {
                        AppendOutcome::Won
                    }
                    Ok(found) => segment::sealed_by(&found.segment)
                        .map_or(AppendOutcome::Taken, |by| AppendOutcome::Sealed { by }),
                    Err(_) => AppendOutcome::Taken,
                },
                Err(StoreError::Corrupt { .. } | StoreError::Newer { .. }) => AppendOutcome::Taken,
                Err(error) => {
                    tracing::warn!(%error, seq = %key, "the journal waits for the state store");
                    AppendOutcome::Unknown
                }
            }
        };
        self.sending = Some(create.boxed());
    }

    fn durable(&mut self, seq: u64, tickets: Vec<Ticket>) {
        if let Some(segment) = self.segment.take() {
            self.measure(&segment);
            let mut records = segment.records;
            records.sort_by_key(|record| !is_snapshot(record));
            self.grow(segment.body.len(), &records);
            // Whoever replays the journal leaves out the same.
            for what in salvage::leave_out(&mut records) {
                tracing::error!(what, "a record without its query was journaled");
            }
            if let Err(error) = self.book.apply(&records) {
                tracing::error!(%error, "a record without its query was journaled");
            }
            for (query, epoch) in segment.forgotten {
                self.forget(query, epoch);
            }
        }
        let now = self.now();
        for ticket in tickets {
            if let Some(Waiter { due, tell }) = self.waiters.remove(&ticket) {
                let delay = now.since(due.min(now)).as_secs_f64();
                self.journals.metrics().delay.observe(delay);
                // Who asked may be gone.
                let _ = tell.send(Ok(seq));
            }
        }
    }

    fn forget(&mut self, query: QueryId, epoch: Epoch) {
        let was_held = self.book.held(query).is_some();
        self.book.drop_query(query, epoch);
        if was_held && self.book.held(query).is_none() {
            self.sizes.remove(query);
            let mut grown = self.grown.lock();
            grown.held = self.sizes.sum();
            // As a record would, it makes another snapshot of use.
            grown.records += 1;
        }
    }

    /// The journal has one more segment, of that size and with these records.
    fn grow(&mut self, bytes: usize, records: &[Record]) {
        for record in records {
            self.sizes.note(record);
        }
        let others = records.iter().filter(|record| !is_snapshot(record)).count();
        let mut grown = self.grown.lock();
        *grown = match others < records.len() {
            true => Grown {
                records: others,
                segments: 0,
                bytes,
                held: self.sizes.sum(),
            },
            false => Grown {
                records: grown.records + others.max(1),
                segments: grown.segments + 1,
                bytes: grown.bytes + bytes,
                held: self.sizes.sum(),
            },
        };
    }

    fn measure(&self, written: &Segment) {
        let metrics = self.journals.metrics();
        let bytes = i64::try_from(written.body.len()).unwrap_or(i64::MAX);
        if written.records.iter().any(is_snapshot) {
            metrics.segments.set(1);
            metrics.bytes.set(bytes);
        } else {
            metrics.segments.inc();
            metrics.bytes.add(bytes);
        }
    }

    fn count(&self, outcome: &AppendOutcome) {
        let outcome = match outcome {
            AppendOutcome::Won => "won",
            AppendOutcome::Sealed { .. } => "sealed",
            AppendOutcome::Taken => "taken",
            AppendOutcome::Unknown => "unknown",
        };
        let appends = &self.journals.metrics().appends;
        appends.with_label_values(&[outcome]).inc();
    }

    fn close(&mut self, why: &Closed) {
        tracing::warn!(scheduler = %self.scheduler, %why, "the journal is over");
        self.closing.send_replace(Some(why.clone()));
        for (_, waiter) in std::mem::take(&mut self.waiters) {
            // Who asked may be gone.
            let _ = waiter.tell.send(Err(why.clone()));
        }
    }
}

fn is_snapshot(record: &Record) -> bool {
    matches!(&record.record, Some(Kind::Snapshot(_)))
}

/// The outcome of the create under way; never, if there is none.
async fn sent(sending: &mut Option<BoxFuture<'static, AppendOutcome>>) -> AppendOutcome {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "records linger for others to go with: nobody waits for those"
)]
async fn at(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
