//! The writing end of a journal: what gathers, what is sent, and what an outcome means.
//!
//! ```text
//!   append ──► waiting ──(something is due, nothing is under way)──► sent ──► Won: durable
//!                 │                                                   ▲ │
//!                 └─ withdraw: never sent                             │ ├──► Unknown: the same again
//!                                                                     └─┘
//!                                                                       └──► Lost: the journal is over
//! ```
//!
//! One segment is under way at a time. It carries what is due, what will be within a moment, and of the
//! same queries all that waits, so that the records of a query stay in order. What lingers for longer
//! stays, or one slow query after another would take all quick ones along, whose records nobody needs.
//! As long as a segment's
//! outcome is unknown it is sent again, the same bytes under the same number, which is harmless: at
//! most one of the sends takes the number, and all of them mean the same. Memory elsewhere follows
//! only what is durable.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use paceline_model::{QueryId, SchedulerId};

use crate::Now;

/// Names one record on its way into a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Limits of an appender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendOptions {
    /// Records in one segment at most.
    pub max_records: usize,
    /// Bytes of records in one segment at most, except that one record always goes.
    pub max_bytes: usize,
    /// What becomes due so soon after a segment is sent goes along. With a fast store this, and not the
    /// number of records, says how many segments there are.
    pub gather: Duration,
    /// For how long one segment may stay unknown before the scheduler stops owning. Nobody can take
    /// over while the store is away, so this may be long.
    pub give_up_after: Duration,
}

impl Default for AppendOptions {
    fn default() -> Self {
        AppendOptions {
            max_records: 4096,
            max_bytes: 8 << 20,
            gather: Duration::from_millis(25),
            give_up_after: Duration::from_secs(600),
        }
    }
}

/// Why nothing can be appended any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The journal is sealed: somebody takes its queries over.
    #[error("the journal was sealed by scheduler '{by}', which takes over its queries")]
    Sealed {
        /// Who sealed it.
        by: SchedulerId,
    },
    /// Something else took the segment's number, which only a process of the same name can do.
    #[error(
        "segment {seq} of the journal was written by another process; two schedulers run under one name"
    )]
    Taken {
        /// The segment.
        seq: u64,
    },
    /// The outcome of an append stayed unknown for too long.
    #[error("whether segment {seq} of the journal was written could not be found out in time")]
    Doubtful {
        /// The segment.
        seq: u64,
    },
}

/// What is told to an appender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Append<R> {
    /// A record is to become durable.
    Record {
        /// Its name, never used before.
        ticket: Ticket,
        /// Whose record it is: those of a query stay in order. One of no query, a snapshot, takes
        /// everything along that waits.
        query: Option<QueryId>,
        /// The record.
        record: R,
        /// Its size, about.
        bytes: usize,
        /// When it is worth a segment of its own. Until then it goes with others or can be withdrawn.
        due: Now,
    },
    /// These records have become pointless. Honoured only if none of them was sent.
    Withdraw {
        /// Their names.
        tickets: Vec<Ticket>,
    },
    /// What became of the segment that was sent.
    Outcome(AppendOutcome),
    /// The moment of [`AppendAction::WakeAt`] has come.
    Tick,
}

/// What became of a segment that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendOutcome {
    /// It is there and it is ours.
    Won,
    /// A seal is there.
    Sealed {
        /// Who put it there.
        by: SchedulerId,
    },
    /// Another segment is there.
    Taken,
    /// It may be there, or not, or come later.
    Unknown,
}

/// What an appender wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendAction<R> {
    /// Create a segment of these records, under a new write id.
    Send {
        /// Its number.
        seq: u64,
        /// What it holds.
        records: Vec<R>,
    },
    /// Send the segment that is under way again, the same bytes with the same write id, after a
    /// moment.
    SendAgain,
    /// These records are durable.
    Durable {
        /// The segment they are in.
        seq: u64,
        /// The records.
        tickets: Vec<Ticket>,
    },
    /// These records were withdrawn and will never be sent.
    Withdrawn {
        /// The records.
        tickets: Vec<Ticket>,
    },
    /// The journal is over: stop owning at once. The fate of records under way is for others to
    /// find out; those that waited were never sent.
    Close(Closed),
    /// Send [`Append::Tick`] at this time.
    WakeAt(Now),
}

#[derive(Debug)]
struct Waiting<R> {
    ticket: Ticket,
    query: Option<QueryId>,
    record: R,
    bytes: usize,
    due: Now,
}

#[derive(Debug)]
struct Sent {
    seq: u64,
    tickets: Vec<Ticket>,
    since: Now,
}

enum Going {
    Everything,
    Of(HashSet<QueryId>),
}

impl Going {
    fn holds<R>(&self, waiting: &Waiting<R>) -> bool {
        match self {
            Going::Everything => true,
            Going::Of(queries) => waiting.query.is_some_and(|query| queries.contains(&query)),
        }
    }
}

/// Appends to one journal.
#[derive(Debug)]
pub struct Appender<R> {
    options: AppendOptions,
    next: u64,
    waiting: VecDeque<Waiting<R>>,
    sent: Option<Sent>,
    closed: Option<Closed>,
}

impl<R> Appender<R> {
    /// An appender whose first segment gets the number `next`.
    pub fn new(next: u64, options: AppendOptions) -> Self {
        Appender {
            options,
            next,
            waiting: VecDeque::new(),
            sent: None,
            closed: None,
        }
    }

    /// Takes note of an event and says what is to be done.
    pub fn handle(&mut self, event: Append<R>, now: Now) -> Vec<AppendAction<R>> {
        let mut actions = Vec::new();
        if self.closed.is_some() {
            return actions;
        }
        match event {
            Append::Record {
                ticket,
                query,
                record,
                bytes,
                due,
            } => self.waiting.push_back(Waiting {
                ticket,
                query,
                record,
                bytes,
                due,
            }),
            Append::Withdraw { tickets } => self.withdraw(tickets, &mut actions),
            Append::Outcome(outcome) => self.settle(outcome, now, &mut actions),
            Append::Tick => {}
        }
        self.send(now, &mut actions);
        actions
    }

    fn withdraw(&mut self, tickets: Vec<Ticket>, actions: &mut Vec<AppendAction<R>>) {
        let waits = |ticket: &Ticket| self.waiting.iter().any(|w| w.ticket == *ticket);
        if tickets.iter().all(waits) {
            self.waiting.retain(|w| !tickets.contains(&w.ticket));
            actions.push(AppendAction::Withdrawn { tickets });
        }
    }

    fn settle(&mut self, outcome: AppendOutcome, now: Now, actions: &mut Vec<AppendAction<R>>) {
        let Some(sent) = self.sent.take() else {
            return;
        };
        let seq = sent.seq;
        match outcome {
            AppendOutcome::Won => {
                self.next = seq.saturating_add(1);
                let tickets = sent.tickets;
                actions.push(AppendAction::Durable { seq, tickets });
            }
            AppendOutcome::Sealed { by } => self.close(Closed::Sealed { by }, actions),
            AppendOutcome::Taken => self.close(Closed::Taken { seq }, actions),
            AppendOutcome::Unknown if now.since(sent.since) >= self.options.give_up_after => {
                self.close(Closed::Doubtful { seq }, actions);
            }
            AppendOutcome::Unknown => {
                self.sent = Some(sent);
                actions.push(AppendAction::SendAgain);
            }
        }
    }

    fn close(&mut self, why: Closed, actions: &mut Vec<AppendAction<R>>) {
        self.waiting.clear();
        self.closed = Some(why.clone());
        actions.push(AppendAction::Close(why));
    }

    /// Sends what waits if some of it is due and nothing is under way.
    fn send(&mut self, now: Now, actions: &mut Vec<AppendAction<R>>) {
        if self.sent.is_some() || self.closed.is_some() {
            return;
        }
        let Some(due) = self.waiting.iter().map(|w| w.due).min() else {
            return;
        };
        if due > now {
            actions.push(AppendAction::WakeAt(due));
            return;
        }
        let (mut tickets, mut records, mut bytes) = (Vec::new(), Vec::new(), 0usize);
        let goes = self.going(now.after(self.options.gather));
        let mut full = false;
        for next in std::mem::take(&mut self.waiting) {
            let too_much = bytes.saturating_add(next.bytes) > self.options.max_bytes
                || records.len() >= self.options.max_records;
            full |= goes.holds(&next) && too_much && !records.is_empty();
            if full || !goes.holds(&next) {
                self.waiting.push_back(next);
                continue;
            }
            bytes = bytes.saturating_add(next.bytes);
            tickets.push(next.ticket);
            records.push(next.record);
        }
        let seq = self.next;
        self.sent = Some(Sent {
            seq,
            tickets,
            since: now,
        });
        actions.push(AppendAction::Send { seq, records });
    }

    /// What goes if a segment is sent: of which queries something is due by then, or everything.
    fn going(&self, soon: Now) -> Going {
        let due = self.waiting.iter().filter(|w| w.due <= soon);
        let queries: Option<HashSet<QueryId>> = due.map(|w| w.query).collect();
        queries.map_or(Going::Everything, Going::Of)
    }

    /// How many records wait to be sent.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Why nothing can be appended any more.
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }
}

#[cfg(test)]
mod tests;
