//! Lists of queries: which ones are wanted, and how those of several schedulers become one list.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use paceline_model::{InvalidId, QueryId, QueryState, QueryStatus, SchedulerId};
use serde::{Deserialize, Serialize};

/// Where a query stands among others: by when it was accepted, and by its id among those of the same
/// millisecond. The id of a query that its client named says nothing of when that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// When it was accepted, in milliseconds since 1970 by the clock of who accepted it; 0 if nobody knows.
    pub accepted_at_unix_ms: u64,
    /// The query.
    pub query: QueryId,
}

impl Place {
    /// The place of a query.
    pub fn of(status: &QueryStatus) -> Self {
        Place {
            accepted_at_unix_ms: status.accepted_at_unix_ms.unwrap_or_default(),
            query: status.query,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.accepted_at_unix_ms, self.query)
    }
}

impl FromStr for Place {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let read = || {
            let (accepted, query) = text.split_once('.')?;
            Some(Place {
                accepted_at_unix_ms: accepted.parse().ok()?,
                query: query.parse().ok()?,
            })
        };
        read().ok_or_else(|| InvalidId {
            text: text.to_string(),
            expected: "place in a list of queries: take it from where a list says that it goes on",
        })
    }
}

/// Which queries are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryFilter {
    /// Those in one of these states; empty for all.
    pub states: Vec<QueryState>,
    /// Those that this scheduler drives.
    pub owner: Option<SchedulerId>,
    /// Those that come after this place in a list, which are older.
    pub after: Option<Place>,
    /// No more than so many.
    pub limit: usize,
}

impl QueryFilter {
    /// The most queries that a page has.
    pub const MAX_LIMIT: usize = 1000;

    /// Whether a query of that place, state and owner is wanted.
    pub fn admits(&self, place: Place, state: QueryState, owner: &SchedulerId) -> bool {
        let states = &self.states;
        (states.is_empty() || states.contains(&state))
            && self.owner.as_ref().is_none_or(|it| it == owner)
            && self.after.is_none_or(|after| place < after)
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
    /// Why queries may be missing that ended at schedulers which do not remember them, if some may.
    #[serde(default)]
    pub incomplete: Option<String>,
}

impl QueryPage {
    /// The page of these queries, which may come in any order. Of several reports on one query that
    /// of the latest owner counts.
    pub fn of(all: impl IntoIterator<Item = QueryStatus>, filter: &QueryFilter) -> Self {
        let mut latest: HashMap<QueryId, QueryStatus> = HashMap::new();
        for status in all {
            let standing = |status: &QueryStatus| (status.epoch, status.state.is_final());
            let known = latest.get(&status.query).map(standing);
            if known.is_none_or(|known| known < standing(&status)) {
                latest.insert(status.query, status);
            }
        }
        let admits = |it: &QueryStatus| filter.admits(Place::of(it), it.state, &it.owner);
        let mut queries: Vec<_> = latest.into_values().filter(admits).collect();
        queries.sort_by_key(|status| Reverse(Place::of(status)));
        let more = queries.len() > filter.limit;
        queries.truncate(filter.limit);
        QueryPage {
            queries,
            more,
            ..QueryPage::default()
        }
    }

    /// One page out of those of several schedulers, each made with the same filter.
    pub fn merged(pages: Vec<QueryPage>, filter: &QueryFilter) -> Self {
        let more = pages.iter().any(|page| page.more);
        let (mut unreachable, mut incomplete) = (Vec::new(), None);
        let mut queries = Vec::new();
        for page in pages {
            unreachable.extend(page.unreachable);
            incomplete = incomplete.or(page.incomplete);
            queries.extend(page.queries);
        }
        let merged = QueryPage::of(queries, filter);
        QueryPage {
            more: more || merged.more,
            unreachable,
            incomplete,
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
            filter.after = page.queries.last().map(Place::of);
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, [vec![5, 4], vec![3, 2], vec![1]]);
    }

    #[test]
    fn the_latest_is_the_one_that_was_accepted_last() {
        let accepted = |number, unix_ms| QueryStatus {
            accepted_at_unix_ms: Some(unix_ms),
            ..status(number, "a", 0, QueryState::Finished)
        };
        // Ids of queries that have names come in any order.
        let all = [
            accepted(9, 100),
            accepted(1, 300),
            accepted(5, 200),
            accepted(6, 200),
        ];
        let mut filter = QueryFilter::default();
        assert_eq!(numbers(&QueryPage::of(all.clone(), &filter)), [1, 6, 5, 9]);
        filter.after = Some(Place::of(&all[3]));
        assert_eq!(numbers(&QueryPage::of(all, &filter)), [5, 9]);
    }

    #[test]
    fn a_place_is_read_back_as_written() {
        let place = Place::of(&QueryStatus {
            accepted_at_unix_ms: Some(1_780_000_000_123),
            ..status(7, "a", 0, QueryState::Finished)
        });
        let written = "1780000000123.07070707-0707-0707-0707-070707070707";
        assert_eq!(place.to_string(), written);
        assert_eq!(written.parse(), Ok(place));
        for text in [
            "",
            "1",
            ".",
            "1.2",
            "-1.07070707-0707-0707-0707-070707070707",
        ] {
            let error = text.parse::<Place>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("'{text}'")), "{error}");
        }
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
        assert_eq!(merged.incomplete, None);
        let away = QueryPage {
            incomplete: Some("the store is away".to_string()),
            ..QueryPage::default()
        };
        let merged = QueryPage::merged(vec![merged, away], &filter);
        assert_eq!(merged.incomplete.as_deref(), Some("the store is away"));
    }
}
