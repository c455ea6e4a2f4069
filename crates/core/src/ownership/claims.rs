//! What is known of claims.

use std::collections::BTreeMap;

use paceline_model::{Epoch, QueryId, SchedulerId};

/// What is known of one claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known<'a> {
    /// Nobody looked.
    Unread,
    /// It was not there at the last look. It may be by now.
    Free,
    /// It names this scheduler, for good.
    By(&'a SchedulerId),
}

/// Whatever knows claims.
pub trait Claims {
    /// What is known of the claim to a query at an epoch. Epoch 0 has one for submitted queries, and is
    /// asked for of no others.
    fn claim(&self, query: QueryId, epoch: Epoch) -> Known<'_>;
}

/// The claims that a scheduler has read.
#[derive(Debug, Clone, Default)]
pub struct ClaimBook {
    read: BTreeMap<(QueryId, Epoch), Option<SchedulerId>>,
}

impl ClaimBook {
    /// Notes what a look or a create found. A claim that is there never goes.
    pub fn note(&mut self, query: QueryId, epoch: Epoch, by: Option<SchedulerId>) {
        let known = self.read.entry((query, epoch)).or_default();
        if known.is_none() {
            *known = by;
        }
    }

    /// Forgets a query that matters to no journal any more.
    pub fn forget(&mut self, query: QueryId) {
        let epochs: Vec<_> = self
            .read
            .range((query, Epoch(0))..=(query, Epoch(u64::MAX)))
            .map(|(claim, _)| *claim)
            .collect();
        for claim in epochs {
            self.read.remove(&claim);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.read.len()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.read.is_empty()
    }
}

impl Claims for ClaimBook {
    fn claim(&self, query: QueryId, epoch: Epoch) -> Known<'_> {
        match self.read.get(&(query, epoch)) {
            None => Known::Unread,
            Some(None) => Known::Free,
            Some(Some(by)) => Known::By(by),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::testing::{query, scheduler};

    #[test]
    fn a_claim_that_was_seen_stays() {
        let mut book = ClaimBook::default();
        assert_eq!(book.claim(query(1), Epoch(1)), Known::Unread);
        book.note(query(1), Epoch(1), None);
        assert_eq!(book.claim(query(1), Epoch(1)), Known::Free);
        book.note(query(1), Epoch(1), Some(scheduler("a")));
        book.note(query(1), Epoch(1), None);
        book.note(query(1), Epoch(1), Some(scheduler("b")));
        assert_eq!(book.claim(query(1), Epoch(1)), Known::By(&scheduler("a")));
        book.forget(query(1));
        assert!(book.is_empty());
    }
}
