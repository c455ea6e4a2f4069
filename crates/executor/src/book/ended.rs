//! Queries that have ended, remembered so that what arrives late is refused.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use paceline_model::{Epoch, QueryId, SchedulerId};

/// Longer than any command can be on its way.
const REMEMBERED: Duration = Duration::from_secs(600);

/// A busy cluster ends many queries in that time; the oldest are forgotten first.
const MOST: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Ended {
    queries: HashMap<QueryId, Ending>,
    order: VecDeque<(Instant, QueryId)>,
}

#[derive(Debug)]
struct Ending {
    epoch: Epoch,
    owner: SchedulerId,
}

impl Ended {
    pub(super) fn note(&mut self, query: QueryId, epoch: Epoch, owner: SchedulerId, now: Instant) {
        if self
            .queries
            .insert(query, Ending { epoch, owner })
            .is_none()
        {
            self.order.push_back((now, query));
        }
    }

    pub(super) fn epoch(&self, query: QueryId) -> Option<Epoch> {
        self.queries.get(&query).map(|ending| ending.epoch)
    }

    /// Who ended it: the last confirmations go there.
    pub(super) fn owner(&self, query: QueryId) -> Option<&SchedulerId> {
        self.queries.get(&query).map(|ending| &ending.owner)
    }

    /// Forgets the oldest, and says which.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<QueryId> {
        let mut expired = Vec::new();
        while let Some(&(at, query)) = self.order.front() {
            let old = now.saturating_duration_since(at) > REMEMBERED;
            if !old && self.order.len() <= MOST {
                break;
            }
            self.order.pop_front();
            self.queries.remove(&query);
            expired.push(query);
        }
        expired
    }
}
