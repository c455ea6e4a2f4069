//! All records of queries, and how long each is kept.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use paceline_model::{QueryId, QueryStatus};
use paceline_plan::WriteInto;

use crate::record::QueryRecord;

/// Ended queries whose status is still told after their result is gone.
const REMEMBERED: usize = 1000;

/// Bytes of results that came back with final states, kept in the scheduler for who may ask again.
const HELD_BYTES: usize = 256 << 20;

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    /// After a result was read to its end.
    pub(crate) consumed: Duration,
    /// After the end of a query whose result nobody has read to its end.
    pub(crate) unread: Duration,
    /// While nobody waits for a query that runs.
    pub(crate) abandoned: Duration,
}

/// What is to become of a record now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Its result goes.
    Release(QueryId),
    /// Nobody waits for it: it is cancelled.
    Abandon(QueryId),
}

/// The records.
#[derive(Debug)]
pub(crate) struct Shelf {
    keep: Keep,
    records: HashMap<QueryId, QueryRecord>,
    past: VecDeque<Past>,
}

/// What is remembered of a query after its record.
#[derive(Debug)]
struct Past {
    status: QueryStatus,
    /// Whether nothing tells any more what came of it.
    is_gone: bool,
    leaves_behind: Option<WriteInto>,
}

impl Shelf {
    pub(crate) fn new(keep: Keep) -> Self {
        Shelf {
            keep,
            records: HashMap::new(),
            past: VecDeque::new(),
        }
    }

    /// Adds a record, or puts it in the place of one that was moved away before.
    pub(crate) fn insert(&mut self, mut record: QueryRecord) {
        if let Some(former) = self.records.get(&record.query) {
            // They are still there, and leave later.
            record.readers = former.readers;
        }
        self.records.insert(record.query, record);
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut QueryRecord> {
        self.records.values_mut()
    }

    /// Takes a record off whose query somebody else tells of.
    pub(crate) fn forget(&mut self, query: &QueryId) {
        self.records.remove(query);
    }

    pub(crate) fn get(&self, query: &QueryId) -> Option<&QueryRecord> {
        self.records.get(query)
    }

    pub(crate) fn get_mut(&mut self, query: &QueryId) -> Option<&mut QueryRecord> {
        self.records.get_mut(query)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &QueryRecord> {
        self.records.values()
    }

    /// Takes a record off; its last status is remembered for a while.
    pub(crate) fn retire(&mut self, query: &QueryId, last: QueryStatus) {
        if let Some(record) = self.records.remove(query) {
            self.past.push_back(Past {
                status: last,
                is_gone: record.leaves_nothing(),
                leaves_behind: record.leaves_behind().cloned(),
            });
            if self.past.len() > REMEMBERED {
                self.past.pop_front();
            }
        }
    }

    /// What is still told of a query that was retired.
    pub(crate) fn past(&self, query: &QueryId) -> Option<&QueryStatus> {
        self.past_of(query).map(|past| &past.status)
    }

    /// Whether a query was retired of which nothing tells any more what came of it.
    pub(crate) fn is_gone(&self, query: &QueryId) -> bool {
        self.past_of(query).is_some_and(|past| past.is_gone)
    }

    fn past_of(&self, query: &QueryId) -> Option<&Past> {
        let mut latest_first = self.past.iter().rev();
        latest_first.find(|past| past.status.query == *query)
    }

    pub(crate) fn all_past(&self) -> impl Iterator<Item = &QueryStatus> {
        self.past.iter().map(|past| &past.status)
    }

    /// Where a query that failed may have left files that others see.
    pub(crate) fn leaves_behind(&self, query: &QueryId) -> Option<&WriteInto> {
        match self.records.get(query) {
            Some(record) => record.leaves_behind(),
            None => self.past_of(query)?.leaves_behind.as_ref(),
        }
    }

    /// What is to be done at `now`.
    pub(crate) fn due(&self, now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        let mut held = Vec::new();
        for record in self.records.values().filter(|record| record.readers == 0) {
            let idle = now.saturating_duration_since(record.idle_since);
            match record.ended {
                _ if idle >= self.keep.abandoned && record.is_moved() => {
                    due.push(Due::Release(record.query));
                }
                _ if record.kept.is_some() => {}
                // Its client was promised that it goes on.
                None if record.write.is_some() => {}
                None if idle >= self.keep.abandoned => due.push(Due::Abandon(record.query)),
                None => {}
                Some(ended) => {
                    let kept = if record.consumed {
                        idle >= self.keep.consumed
                    } else {
                        now.saturating_duration_since(ended.max(record.idle_since))
                            >= self.keep.unread
                    };
                    if kept {
                        due.push(Due::Release(record.query));
                    } else {
                        held.push(Held {
                            unread: !record.consumed,
                            since: record.idle_since,
                            query: record.query,
                            bytes: record.held_bytes(),
                        });
                    }
                }
            }
        }
        due.extend(over_budget(held));
        due
    }
}

/// A result that may be kept.
#[derive(Debug)]
struct Held {
    unread: bool,
    /// When its last reader left, or it was accepted.
    since: Instant,
    query: QueryId,
    bytes: usize,
}

/// Of results that may be kept, those that are too much: first those that were read, and of these and of
/// the others the longest idle ones.
fn over_budget(mut held: Vec<Held>) -> Vec<Due> {
    let mut bytes: usize = held.iter().map(|held| held.bytes).sum();
    if bytes <= HELD_BYTES {
        return Vec::new();
    }
    held.sort_by_key(|held| (held.unread, held.since, held.query));
    let mut due = Vec::new();
    for held in held {
        if bytes <= HELD_BYTES {
            break;
        }
        if held.bytes > 0 {
            bytes -= held.bytes;
            due.push(Due::Release(held.query));
        }
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It may have run for long, so nobody has left it since it was accepted.
    #[test]
    fn what_was_read_goes_before_what_nobody_has_read_yet() {
        let first = Instant::now();
        let query = |n: u8| QueryId::from_slice(&[n; 16]).unwrap();
        let held = |n: u8, unread: bool, later: u64| Held {
            unread,
            since: first + Duration::from_secs(later),
            query: query(n),
            bytes: HELD_BYTES / 2,
        };
        let three = || vec![held(1, true, 1), held(2, false, 9), held(3, false, 8)];
        assert_eq!(over_budget(three()), [Due::Release(query(3))]);
        let four = three().into_iter().chain([held(4, true, 0)]).collect();
        let due = [3, 2].map(|n| Due::Release(query(n)));
        assert_eq!(over_budget(four), due);
    }
}
