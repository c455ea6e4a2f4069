//! What a journal adds up to.

use std::collections::BTreeMap;

use paceline_model::{Epoch, QueryId, SchedulerId};

/// How a journal holds a query. Of two entries the greater one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// Its scheduler accepted it, as no other one can have: the query's id is of its making.
    Accepted,
    /// Its scheduler accepted it, and so may others have: a client's own name for it gave it its id. It
    /// is that one's whom the claim of epoch 0 names.
    Submitted,
    /// Its scheduler means to adopt it at this epoch, which is not 0. It is that one's whom the claim of
    /// the epoch names.
    Adopted(Epoch),
}

impl Hold {
    /// As whoever accepted a query holds it (epoch 0), or whoever adopted it.
    pub fn at(epoch: Epoch) -> Self {
        match epoch {
            Epoch(0) => Hold::Accepted,
            later => Hold::Adopted(later),
        }
    }

    /// The epoch.
    pub fn epoch(self) -> Epoch {
        match self {
            Hold::Accepted | Hold::Submitted => Epoch(0),
            Hold::Adopted(epoch) => epoch,
        }
    }
}

/// The part of a journal's record that decides who owns what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The journal holds the query from now on.
    Owned {
        /// The query.
        query: QueryId,
        /// How.
        hold: Hold,
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
        /// The queries that had not ended, and how the journal holds each.
        owned: BTreeMap<QueryId, Hold>,
    },
}

/// What a journal says, up to some record of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    owned: BTreeMap<QueryId, Hold>,
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
            Entry::Owned { query, hold } => {
                let held = self.owned.entry(*query).or_insert(*hold);
                *held = (*held).max(*hold);
            }
            Entry::Ended { query } => {
                self.owned.remove(query);
            }
            Entry::Seal { by } => self.sealed = Some(by.clone()),
            Entry::Snapshot { .. } => {}
        }
    }

    /// Forgets a query that turned out to be somebody else's at that epoch, so that no snapshot carries it
    /// on. Whoever loses a query may have adopted it since.
    pub fn drop_query(&mut self, query: QueryId, epoch: Epoch) {
        if self.epoch(query).is_some_and(|held| held <= epoch) {
            self.owned.remove(&query);
        }
    }

    /// Who ended the journal, if it is over.
    pub fn sealed_by(&self) -> Option<&SchedulerId> {
        self.sealed.as_ref()
    }

    /// At which epoch the journal holds a query that has not ended.
    pub fn epoch(&self, query: QueryId) -> Option<Epoch> {
        self.hold(query).map(Hold::epoch)
    }

    /// How the journal holds a query that has not ended.
    pub fn hold(&self, query: QueryId) -> Option<Hold> {
        self.owned.get(&query).copied()
    }

    /// The queries that have not ended, and how the journal holds each.
    pub fn queries(&self) -> impl Iterator<Item = (QueryId, Hold)> + '_ {
        self.owned.iter().map(|(query, hold)| (*query, *hold))
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
        let hold = Hold::at(Epoch(epoch));
        Entry::Owned { query, hold }
    }

    #[test]
    fn what_comes_after_a_seal_does_not_count() {
        let mut standing = Standing::default();
        standing.apply(&owned(1, 0));
        standing.apply(&Entry::Seal { by: scheduler("b") });
        standing.apply(&owned(2, 0));
        standing.apply(&Entry::Ended { query: query(1) });
        let held: Vec<_> = standing.queries().collect();
        assert_eq!(held, [(query(1), Hold::Accepted)]);
        assert_eq!(standing.sealed_by(), Some(&scheduler("b")));
    }

    #[test]
    fn of_two_holds_the_greater_one_counts() {
        let submitted = Entry::Owned {
            query: query(1),
            hold: Hold::Submitted,
        };
        let mut standing = Standing::default();
        for (entry, hold) in [
            (owned(1, 0), Hold::Accepted),
            (submitted.clone(), Hold::Submitted),
            (owned(1, 2), Hold::Adopted(Epoch(2))),
            (owned(1, 1), Hold::Adopted(Epoch(2))),
            (submitted, Hold::Adopted(Epoch(2))),
        ] {
            standing.apply(&entry);
            assert_eq!(standing.hold(query(1)), Some(hold));
        }
    }

    #[test]
    fn who_loses_a_query_keeps_it_if_it_was_adopted_since() {
        let mut standing = Standing::default();
        standing.apply(&owned(1, 2));
        standing.drop_query(query(1), Epoch(1));
        assert_eq!(standing.epoch(query(1)), Some(Epoch(2)));
        standing.drop_query(query(1), Epoch(2));
        assert_eq!(standing.epoch(query(1)), None);
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
