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
mod tests {
    use super::*;
    use crate::ownership::testing::{self, scheduler};
    use AppendAction::{Close, Durable, Send, SendAgain, WakeAt, Withdrawn};

    const T0: Now = Now(Duration::ZERO);

    fn at(millis: u64) -> Now {
        Now(Duration::from_millis(millis))
    }

    /// A record of a query of its own.
    fn record(ticket: u64, due: Now) -> Append<u64> {
        record_of(Some(ticket), ticket, due)
    }

    fn record_of(query: Option<u64>, ticket: u64, due: Now) -> Append<u64> {
        Append::Record {
            ticket: Ticket(ticket),
            query: query.map(|n| testing::query(n.into())),
            record: ticket,
            bytes: 1,
            due,
        }
    }

    fn appender() -> Appender<u64> {
        Appender::new(
            3,
            AppendOptions {
                max_records: 4,
                max_bytes: 10,
                gather: Duration::from_millis(25),
                give_up_after: Duration::from_secs(1),
            },
        )
    }

    fn tickets(of: &[u64]) -> Vec<Ticket> {
        of.iter().copied().map(Ticket).collect()
    }

    fn send(seq: u64, records: &[u64]) -> AppendAction<u64> {
        let records = records.to_vec();
        Send { seq, records }
    }

    fn durable(seq: u64, of: &[u64]) -> AppendAction<u64> {
        let tickets = tickets(of);
        Durable { seq, tickets }
    }

    #[test]
    fn one_segment_carries_what_gathered_meanwhile() {
        let mut it = appender();
        assert_eq!(it.handle(record(1, T0), T0), [send(3, &[1])]);
        for ticket in 2..=6 {
            assert_eq!(it.handle(record(ticket, T0), T0), []);
        }
        let won = || Append::Outcome(AppendOutcome::Won);
        let second = [durable(3, &[1]), send(4, &[2, 3, 4, 5])];
        assert_eq!(it.handle(won(), T0), second);
        assert_eq!(
            it.handle(won(), T0),
            [durable(4, &[2, 3, 4, 5]), send(5, &[6])]
        );
        assert_eq!(it.handle(won(), T0), [durable(5, &[6])]);
        assert_eq!(it.handle(record(7, T0), T0), [send(6, &[7])]);
    }

    #[test]
    fn a_large_record_goes_alone() {
        let mut it = appender();
        it.handle(record(1, T0), T0);
        for ticket in [2, 3] {
            let large = Append::Record {
                ticket: Ticket(ticket),
                query: None,
                record: ticket,
                bytes: 1000,
                due: T0,
            };
            it.handle(large, T0);
        }
        let won = || Append::Outcome(AppendOutcome::Won);
        assert_eq!(it.handle(won(), T0), [durable(3, &[1]), send(4, &[2])]);
        assert_eq!(it.handle(won(), T0), [durable(4, &[2]), send(5, &[3])]);
    }

    #[test]
    fn what_lingers_can_be_withdrawn_and_goes_with_others() {
        let mut it = appender();
        assert_eq!(it.handle(record(1, at(50)), T0), [WakeAt(at(50))]);
        let withdraw = |of: &[u64]| Append::Withdraw {
            tickets: tickets(of),
        };
        let gone = Withdrawn {
            tickets: tickets(&[1]),
        };
        assert_eq!(it.handle(withdraw(&[1]), at(10)), [gone]);
        assert_eq!(it.handle(Append::Tick, at(50)), [], "nothing was written");

        it.handle(record(2, at(80)), at(50));
        assert_eq!(it.handle(record(3, at(60)), at(60)), [send(3, &[2, 3])]);
        assert_eq!(it.handle(withdraw(&[2]), at(61)), [], "it was sent");
        it.handle(record(4, at(200)), at(61));
        assert_eq!(it.handle(withdraw(&[2, 4]), at(62)), [], "all or none");
    }

    #[test]
    fn what_lingers_for_long_stays_when_others_go() {
        let mut it = appender();
        let won = || Append::Outcome(AppendOutcome::Won);
        it.handle(record(1, at(86)), at(36));
        it.handle(record(2, at(85)), at(35));
        assert_eq!(it.handle(record(3, at(60)), at(60)), [send(3, &[2, 3])]);
        let withdrawn = Withdrawn {
            tickets: tickets(&[1]),
        };
        let stays = [durable(3, &[2, 3]), WakeAt(at(86))];
        assert_eq!(it.handle(won(), at(61)), stays);
        let withdraw = Append::Withdraw {
            tickets: tickets(&[1]),
        };
        assert_eq!(it.handle(withdraw, at(62)), [withdrawn]);
    }

    #[test]
    fn the_records_of_a_query_stay_in_order() {
        let mut it = appender();
        it.handle(record_of(Some(7), 1, at(500)), T0);
        it.handle(record_of(Some(8), 2, at(500)), T0);
        it.handle(record_of(Some(7), 3, at(900)), T0);
        let now = record_of(Some(7), 4, T0);
        assert_eq!(it.handle(now, T0), [send(3, &[1, 3, 4])]);
        // What does not fit holds back what comes after it.
        for ticket in 5..=9 {
            it.handle(record_of(Some(7), ticket, T0), T0);
        }
        let won = it.handle(Append::Outcome(AppendOutcome::Won), T0);
        assert_eq!(won, [durable(3, &[1, 3, 4]), send(4, &[5, 6, 7, 8])]);
    }

    #[test]
    fn what_is_of_no_query_takes_everything_along() {
        let mut it = appender();
        it.handle(record(1, at(500)), T0);
        it.handle(record(2, at(900)), T0);
        let snapshot = record_of(None, 3, T0);
        assert_eq!(it.handle(snapshot, T0), [send(3, &[1, 2, 3])]);
    }

    #[test]
    fn the_unknown_is_sent_again_and_given_up_in_the_end() {
        let mut it = appender();
        it.handle(record(1, T0), T0);
        let unknown = || Append::Outcome(AppendOutcome::Unknown);
        assert_eq!(it.handle(unknown(), at(500)), [SendAgain]);
        assert_eq!(it.handle(record(2, T0), at(600)), [], "it waits");
        let doubtful = Closed::Doubtful { seq: 3 };
        assert_eq!(it.handle(unknown(), at(1000)), [Close(doubtful)]);
        assert_eq!(it.handle(record(3, T0), at(1001)), []);
    }

    #[test]
    fn a_lost_number_is_the_end() {
        for (outcome, why) in [
            (
                AppendOutcome::Sealed { by: scheduler("b") },
                Closed::Sealed { by: scheduler("b") },
            ),
            (AppendOutcome::Taken, Closed::Taken { seq: 3 }),
        ] {
            let mut it = appender();
            it.handle(record(1, T0), T0);
            let actions = it.handle(Append::Outcome(outcome), T0);
            assert_eq!(actions, [Close(why.clone())]);
            assert_eq!(it.closed(), Some(&why));
            assert_eq!(it.handle(Append::Tick, T0), []);
        }
    }
}
