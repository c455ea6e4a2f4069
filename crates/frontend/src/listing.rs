//! Lists of queries: which ones are wanted, and how those of several schedulers become one list.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use paceline_model::{QueryId, QueryState, QueryStatus, SchedulerId};
use serde::{Deserialize, Serialize};

/// Which queries are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryFilter {
    /// Those in one of these states; empty for all.
    pub states: Vec<QueryState>,
    /// Those that this scheduler drives.
    pub owner: Option<SchedulerId>,
    /// Those that come after this one in a list, which are older.
    pub after: Option<QueryId>,
    /// No more than so many.
    pub limit: usize,
}

impl QueryFilter {
    /// The most queries that a page has.
    pub const MAX_LIMIT: usize = 1000;

    fn admits(&self, status: &QueryStatus) -> bool {
        let states = &self.states;
        (states.is_empty() || states.contains(&status.state))
            && self.owner.as_ref().is_none_or(|it| *it == status.owner)
            && self.after.is_none_or(|after| status.query < after)
    }
}

impl Default for QueryFilter {
    fn default() -> Self {
        QueryFilter {
            states: Vec::new(),
            owner: None,
            after: None,
            limit: 100,
        }
    }
}

/// Some queries, the latest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QueryPage {
    /// The queries.
    pub queries: Vec<QueryStatus>,
    /// Whether more of them come after the last one.
    pub more: bool,
    /// Live schedulers that did not answer, whose queries are missing.
    pub unreachable: Vec<SchedulerId>,
}

impl QueryPage {
    /// The page of these queries, which may come in any order. Of several reports on one query that
    /// of the latest owner counts.
    pub fn of(all: impl IntoIterator<Item = QueryStatus>, filter: &QueryFilter) -> Self {
        let mut latest: BTreeMap<Reverse<QueryId>, QueryStatus> = BTreeMap::new();
        for status in all {
            let standing = |status: &QueryStatus| (status.epoch, status.state.is_final());
            let key = Reverse(status.query);
            let known = latest.get(&key).map(standing);
            if known.is_none_or(|known| known < standing(&status)) {
                latest.insert(key, status);
            }
        }
        let mut admitted = latest.into_values().filter(|status| filter.admits(status));
        QueryPage {
            queries: admitted.by_ref().take(filter.limit).collect(),
            more: admitted.next().is_some(),
            unreachable: Vec::new(),
        }
    }

    /// One page out of those of several schedulers, each made with the same filter.
    pub fn merged(pages: Vec<QueryPage>, filter: &QueryFilter) -> Self {
        let more = pages.iter().any(|page| page.more);
        let mut unreachable = Vec::new();
        let mut queries = Vec::new();
        for page in pages {
            unreachable.extend(page.unreachable);
            queries.extend(page.queries);
        }
        let merged = QueryPage::of(queries, filter);
        QueryPage {
            more: more || merged.more,
            unreachable,
            ..merged
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use paceline_model::Epoch;

    use super::*;

    fn status(number: u8, owner: &str, epoch: u64, state: QueryState) -> QueryStatus {
        QueryStatus {
            query: QueryId::from_slice(&[number; 16]).unwrap(),
            owner: SchedulerId::new(owner),
            epoch: Epoch(epoch),
            state,
            sql: String::new(),
            stages: Vec::new(),
            error: None,
            elapsed: Duration::ZERO,
            planning: Duration::ZERO,
            submitted: true,
            accepted_at_unix_ms: None,
            result: None,
        }
    }

    fn numbers(page: &QueryPage) -> Vec<u8> {
        let id = |status: &QueryStatus| status.query.to_bytes()[0];
        page.queries.iter().map(id).collect()
    }

    fn some() -> Vec<QueryStatus> {
        vec![
            status(3, "a", 0, QueryState::Running),
            status(1, "a", 0, QueryState::Finished),
            status(5, "b", 0, QueryState::Running),
            status(2, "b", 0, QueryState::Failed),
            status(4, "b", 0, QueryState::Queued),
        ]
    }

    #[test]
    fn filters_choose_and_the_latest_comes_first() {
        let all = QueryFilter::default();
        assert_eq!(numbers(&QueryPage::of(some(), &all)), [5, 4, 3, 2, 1]);
        let running = QueryFilter {
            states: vec![QueryState::Running],
            ..all.clone()
        };
        assert_eq!(numbers(&QueryPage::of(some(), &running)), [5, 3]);
        let ended = QueryFilter {
            states: vec![QueryState::Failed, QueryState::Finished],
            ..all.clone()
        };
        assert_eq!(numbers(&QueryPage::of(some(), &ended)), [2, 1]);
        let of_b = QueryFilter {
            owner: Some(SchedulerId::new("b")),
            ..all
        };
        assert_eq!(numbers(&QueryPage::of(some(), &of_b)), [5, 4, 2]);
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repeat() {
        let mut filter = QueryFilter {
            limit: 2,
            ..QueryFilter::default()
        };
        let mut seen = Vec::new();
        loop {
            // As two schedulers would answer.
            let (of_a, of_b): (Vec<_>, Vec<_>) =
                some().into_iter().partition(|s| s.owner.as_str() == "a");
            let pages = vec![QueryPage::of(of_a, &filter), QueryPage::of(of_b, &filter)];
            let page = QueryPage::merged(pages, &filter);
            seen.push(numbers(&page));
            filter.after = page.queries.last().map(|status| status.query);
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, [vec![5, 4], vec![3, 2], vec![1]]);
    }

    #[test]
    fn of_two_owners_the_latest_counts() {
        let old = status(1, "a", 0, QueryState::Running);
        let new = status(1, "b", 1, QueryState::Finished);
        let filter = QueryFilter::default();
        for reports in [[old.clone(), new.clone()], [new.clone(), old.clone()]] {
            let page = QueryPage::of(reports, &filter);
            assert_eq!(page.queries, std::slice::from_ref(&new));
        }
        let running = QueryFilter {
            states: vec![QueryState::Running],
            ..filter
        };
        assert!(QueryPage::of([new, old], &running).queries.is_empty());
    }

    #[test]
    fn who_did_not_answer_is_named() {
        let silent = QueryPage {
            unreachable: vec![SchedulerId::new("c")],
            ..QueryPage::default()
        };
        let filter = QueryFilter::default();
        let merged = QueryPage::merged(vec![QueryPage::of(some(), &filter), silent], &filter);
        assert_eq!(merged.unreachable, [SchedulerId::new("c")]);
        assert_eq!(merged.queries.len(), 5);
    }
}
