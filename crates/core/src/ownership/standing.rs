//! What a journal adds up to.

use std::collections::BTreeMap;

use paceline_model::{Epoch, QueryId, SchedulerId};

/// The part of a journal's record that decides who owns what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The journal's scheduler accepted the query (epoch 0) or means to adopt it.
    Owned {
        /// The query.
        query: QueryId,
        /// At which epoch.
        epoch: Epoch,
    },
    /// The query has its outcome.
    Ended {
        /// The query.
        query: QueryId,
    },
    /// The journal is over.
    Seal {
        /// Who ended it.
        by: SchedulerId,
    },
    /// All that the segments before this one still meant.
    Snapshot {
        /// The queries that had not ended, and at which epoch.
        owned: BTreeMap<QueryId, Epoch>,
    },
}

/// What a journal says, up to some record of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    owned: BTreeMap<QueryId, Epoch>,
    sealed: Option<SchedulerId>,
}

impl Standing {
    /// Takes in the next record. Nothing counts after a seal but a snapshot, which no writer puts
    /// there: a seal before a snapshot was created in the place of a segment that had been removed.
    pub fn apply(&mut self, entry: &Entry) {
        if let Entry::Snapshot { owned } = entry {
            *self = Standing {
                owned: owned.clone(),
                ..Standing::default()
            };
        } else if self.sealed.is_none() {
            self.follow(entry);
        }
    }

    fn follow(&mut self, entry: &Entry) {
        match entry {
            Entry::Owned { query, epoch } => {
                let at = self.owned.entry(*query).or_insert(*epoch);
                *at = (*at).max(*epoch);
            }
            Entry::Ended { query } => {
                self.owned.remove(query);
            }
            Entry::Seal { by } => self.sealed = Some(by.clone()),
            Entry::Snapshot { .. } => {}
        }
    }

    /// Forgets a query that turned out to be somebody else's, so that no snapshot carries it on.
    pub fn drop_query(&mut self, query: QueryId) {
        self.owned.remove(&query);
    }

    /// Who ended the journal, if it is over.
    pub fn sealed_by(&self) -> Option<&SchedulerId> {
        self.sealed.as_ref()
    }

    /// At which epoch the journal holds a query that has not ended.
    pub fn epoch(&self, query: QueryId) -> Option<Epoch> {
        self.owned.get(&query).copied()
    }

    /// The queries that have not ended, and at which epoch the journal holds each.
    pub fn queries(&self) -> impl Iterator<Item = (QueryId, Epoch)> + '_ {
        self.owned.iter().map(|(query, epoch)| (*query, *epoch))
    }

    /// The snapshot that may stand for all records so far.
    pub fn snapshot(&self) -> Entry {
        Entry::Snapshot {
            owned: self.owned.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::testing::{query, scheduler};

    fn owned(n: u128, epoch: u64) -> Entry {
        let query = query(n);
        let epoch = Epoch(epoch);
        Entry::Owned { query, epoch }
    }

    #[test]
    fn what_comes_after_a_seal_does_not_count() {
        let mut standing = Standing::default();
        standing.apply(&owned(1, 0));
        standing.apply(&Entry::Seal { by: scheduler("b") });
        standing.apply(&owned(2, 0));
        standing.apply(&Entry::Ended { query: query(1) });
        let held: Vec<_> = standing.queries().collect();
        assert_eq!(held, [(query(1), Epoch(0))]);
        assert_eq!(standing.sealed_by(), Some(&scheduler("b")));
    }

    #[test]
    fn a_snapshot_stands_for_all_before_it() {
        let mut standing = Standing::default();
        for entry in [owned(1, 0), owned(2, 3), Entry::Ended { query: query(1) }] {
            standing.apply(&entry);
        }
        let mut later = Standing::default();
        later.apply(&Entry::Seal { by: scheduler("x") });
        later.apply(&standing.snapshot());
        assert_eq!(later.sealed_by(), None);
        assert_eq!(later.epoch(query(2)), Some(Epoch(3)));
        assert_eq!(later.epoch(query(1)), None);
    }
}
