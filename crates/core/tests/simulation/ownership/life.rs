//! One incarnation of a scheduler: the machines that run in production, and what they are waiting for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use paceline_core::Now;
use paceline_core::ownership::{
    Append, AppendAction, AppendOptions, Appender, Entry, Ownership, OwnershipAction,
    OwnershipEvent, Standing, Ticket,
};
use paceline_model::{Epoch, QueryId, SchedulerId};

use super::store::Segment;

/// What is appended. A snapshot is made when it is sent.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Entry(Entry),
    Snapshot,
}

/// What a life wants of the world.
#[derive(Debug)]
pub(crate) enum Want {
    Send(u64, Segment),
    Act(OwnershipAction),
    /// An entry is durable.
    Durable(Entry),
    /// All before that segment may go.
    Truncate(u64),
    /// It owns nothing any more.
    Closed,
}

pub(crate) struct Life {
    pub(crate) id: SchedulerId,
    ownership: Ownership,
    appender: Appender<Content>,
    /// What is durable, but for what turned out to be others'.
    standing: Standing,
    sent: Option<(u64, Segment)>,
    tickets: u64,
    waiting: BTreeMap<Ticket, Content>,
    /// What it believes to own.
    pub(crate) owns: BTreeMap<QueryId, Epoch>,
    /// What it drives or drove, and what it was sent.
    seen: BTreeSet<QueryId>,
    /// What it was sent that others may have been sent as well, and whose claim it does not know.
    pub(crate) unclaimed: BTreeSet<QueryId>,
    pub(crate) sealing: BTreeSet<SchedulerId>,
}

impl Life {
    pub(crate) fn new(id: SchedulerId) -> Self {
        let options = AppendOptions {
            max_records: 3,
            give_up_after: Duration::from_secs(30),
            ..AppendOptions::default()
        };
        Life {
            ownership: Ownership::new(id.clone(), Duration::from_millis(200)),
            id,
            appender: Appender::new(0, options),
            standing: Standing::default(),
            sent: None,
            tickets: 0,
            waiting: BTreeMap::new(),
            owns: BTreeMap::new(),
            seen: BTreeSet::new(),
            unclaimed: BTreeSet::new(),
            sealing: BTreeSet::new(),
        }
    }

    /// A client sends it a query that it may have sent to others. False if it needs no record, because this
    /// one was sent it before, or drives it or drove it.
    pub(crate) fn accepts(&mut self, query: QueryId) -> bool {
        !self.adopted(query) && self.seen.insert(query)
    }

    /// Notes that it drives the query.
    pub(crate) fn own(&mut self, query: QueryId, epoch: Epoch) {
        self.seen.insert(query);
        self.owns.insert(query, epoch);
    }

    pub(crate) fn append(&mut self, record: Content, due: Now, now: Now, write: u64) -> Vec<Want> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket, record.clone());
        let bytes = 1;
        let query = match &record {
            Content::Entry(Entry::Owned { query, .. } | Entry::Ended { query }) => Some(*query),
            Content::Entry(_) | Content::Snapshot => None,
        };
        let record = Append::Record {
            ticket,
            query,
            record,
            bytes,
            due,
        };
        self.feed(record, now, write)
    }

    /// Tells the appender; `write` names the write that it may lead to.
    pub(crate) fn feed(&mut self, event: Append<Content>, now: Now, write: u64) -> Vec<Want> {
        let mut wants = Vec::new();
        for action in self.appender.handle(event, now) {
            match action {
                AppendAction::Send { seq, records } => {
                    let entries = self.entries(records);
                    let segment = Segment { write, entries };
                    self.sent = Some((seq, segment.clone()));
                    wants.push(Want::Send(seq, segment));
                }
                AppendAction::SendAgain => {
                    let (seq, segment) = self.sent.clone().expect("something was sent");
                    wants.push(Want::Send(seq, segment));
                }
                AppendAction::Durable { tickets, .. } => wants.extend(self.durable(&tickets)),
                AppendAction::Close(_) => wants.push(Want::Closed),
                AppendAction::Withdrawn { .. } | AppendAction::WakeAt(_) => {}
            }
        }
        wants
    }

    fn entries(&self, records: Vec<Content>) -> Vec<Entry> {
        let entry = |content| match content {
            Content::Entry(entry) => entry,
            Content::Snapshot => self.standing.snapshot(),
        };
        let mut entries: Vec<Entry> = records.into_iter().map(entry).collect();
        entries.sort_by_key(|entry| !matches!(entry, Entry::Snapshot { .. }));
        entries
    }

    fn durable(&mut self, tickets: &[Ticket]) -> Vec<Want> {
        let mut wants = Vec::new();
        if let Some((seq, segment)) = self.sent.take() {
            for entry in &segment.entries {
                self.standing.apply(entry);
                if let Entry::Snapshot { .. } = entry {
                    wants.push(Want::Truncate(seq));
                }
            }
        }
        for ticket in tickets {
            if let Some(Content::Entry(entry)) = self.waiting.remove(ticket) {
                wants.push(Want::Durable(entry));
            }
        }
        wants
    }

    pub(crate) fn tell(&mut self, event: OwnershipEvent, now: Now) -> Vec<Want> {
        let actions = self.ownership.handle(event, now);
        actions.into_iter().map(Want::Act).collect()
    }

    /// Whether its adoptions hold the query.
    pub(crate) fn adopted(&self, query: QueryId) -> bool {
        self.ownership.own().epoch(query).is_some()
    }

    pub(crate) fn lose(&mut self, query: QueryId, epoch: Epoch) {
        self.standing.drop_query(query, epoch);
    }
}
