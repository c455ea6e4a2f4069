//! Which entries of the log decided about which queries, as far back as they are remembered.
//!
//! Who is about to commit what a query wrote has to know whether the log decided about the query after the
//! version that it was planned with. The log says so, entry by entry; who folds it has read them all, and
//! remembers the latest. Only of what is older the log is asked again.

use std::collections::{BTreeSet, VecDeque};

use paceline_model::{CatalogVersion, QueryId};

/// How many are remembered.
const REMEMBERED: usize = 4096;

/// The latest entries that decide about a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Decisions {
    made: BTreeSet<(QueryId, CatalogVersion)>,
    /// The latest last.
    order: VecDeque<(QueryId, CatalogVersion)>,
    forgotten: CatalogVersion,
}

impl Decisions {
    /// The entry of that version decides about a query.
    pub(super) fn insert(&mut self, query: QueryId, version: CatalogVersion) {
        self.made.insert((query, version));
        self.order.push_back((query, version));
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.made.remove(&oldest);
            self.forgotten = oldest.1;
        }
    }

    /// The first entry after a version that decides about a query, of those that are remembered.
    pub(super) fn first_after(
        &self,
        query: QueryId,
        version: CatalogVersion,
    ) -> Option<CatalogVersion> {
        let later = (query, version.next())..=(query, CatalogVersion(u64::MAX));
        self.made.range(later).next().map(|(_, version)| *version)
    }

    /// Entries after this version are all remembered.
    pub(super) fn forgotten(&self) -> CatalogVersion {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(n: u64) -> QueryId {
        QueryId::from_slice(&u128::from(n).to_be_bytes()).unwrap()
    }

    #[test]
    fn the_latest_are_remembered_and_of_a_query_the_first_one_counts() {
        let mut decisions = Decisions::default();
        let many = REMEMBERED as u64;
        for n in 1..=many {
            decisions.insert(query(n), CatalogVersion(2 * n));
        }
        let first_after = |decisions: &Decisions, n, version| {
            let found = decisions.first_after(query(n), CatalogVersion(version));
            found.map(|version| version.0)
        };
        assert_eq!(decisions.forgotten(), CatalogVersion(0));
        assert_eq!(first_after(&decisions, 1, 0), Some(2));
        assert_eq!(first_after(&decisions, 1, 2), None);
        assert_eq!(first_after(&decisions, many + 1, 0), None);

        decisions.insert(query(2), CatalogVersion(2 * many + 1));
        assert_eq!(decisions.forgotten(), CatalogVersion(2));
        assert_eq!(first_after(&decisions, 1, 0), None);
        assert_eq!(first_after(&decisions, 2, 0), Some(4));
        assert_eq!(first_after(&decisions, 2, 4), Some(2 * many + 1));
        assert_eq!(decisions.made.len(), REMEMBERED);
        assert_eq!(decisions.order.len(), REMEMBERED);
    }
}
