//! When a snapshot is worth its write.
//!
//! A snapshot is as large as all that the journal holds: a few statements, or thousands with the plans that
//! came with them. Written after so many records, whatever its size, it could be a hundred megabytes each
//! time for some that say that a query ended. So what it would leave behind counts, beside its own size;
//! and how many segments there are, because whoever takes over reads each of them.

use std::collections::HashMap;

use paceline_model::QueryId;
use paceline_proto::state::Record;
use paceline_proto::state::record::Record as Kind;
use prost::Message;

use crate::journal::salvage;

/// A snapshot of so little is written whenever it is of any use.
const LITTLE: usize = 1 << 20;
/// However large a snapshot is, no more segments than these go without one.
const MOST_SEGMENTS: usize = 4096;

/// What a journal consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grown {
    /// Records beside or after the last snapshot; a segment without any counts as one, and so does a query
    /// that was forgotten.
    pub records: usize,
    /// Segments after the last snapshot.
    pub segments: usize,
    /// Bytes of that snapshot and all after it.
    pub bytes: usize,
    /// Bytes of what the journal still holds, about: the size of another snapshot.
    pub held: usize,
}

impl Grown {
    /// Whether it is time for a snapshot, once there are so many records after the last one: at least half
    /// of what lies there would go.
    pub fn is_long(&self, records: usize) -> bool {
        let halves = self.bytes / 2 >= self.held;
        self.records >= records && (halves || self.segments >= MOST_SEGMENTS)
    }

    /// Whether a snapshot is of use though it is not time for one: what ended queries left would go, and it
    /// is little that is written, or an eighth of it.
    pub fn is_worth_shortening(&self) -> bool {
        let useless = self.bytes.saturating_sub(self.held);
        let pays = self.held <= LITTLE || useless >= self.held / 8;
        self.records > 0 && (pays || self.segments >= MOST_SEGMENTS)
    }
}

/// How much a journal holds of each query.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    of: HashMap<QueryId, usize>,
    sum: usize,
}

impl Sizes {
    pub(super) fn sum(&self) -> usize {
        self.sum
    }

    /// Takes in the next record.
    pub(super) fn note(&mut self, record: &Record) {
        match &record.record {
            Some(Kind::Snapshot(snapshot)) => {
                *self = Sizes::default();
                for adopted in &snapshot.queries {
                    if let Ok(query) = paceline_proto::query_id(&adopted.query) {
                        self.put(query, adopted.encoded_len());
                    }
                }
            }
            Some(kind) => {
                let Some(query) = salvage::query_named(record) else {
                    return;
                };
                let more = record.encoded_len();
                match kind {
                    Kind::Accepted(_) | Kind::Adopted(_) => self.put(query, more),
                    Kind::Finished(_) => self.remove(query),
                    _ => {
                        if let Some(had) = self.of.get(&query).copied() {
                            self.put(query, had + more);
                        }
                    }
                }
            }
            None => {}
        }
    }

    fn put(&mut self, query: QueryId, size: usize) {
        self.remove(query);
        self.of.insert(query, size);
        self.sum += size;
    }

    pub(super) fn remove(&mut self, query: QueryId) {
        let had = self.of.remove(&query).unwrap_or_default();
        self.sum = self.sum.saturating_sub(had);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use paceline_proto::state::{Accepted, Finished, Snapshot, StageFormed, Statement};

    use super::*;

    fn grown(records: usize, bytes: usize, held: usize) -> Grown {
        Grown {
            records,
            segments: records,
            bytes,
            held,
        }
    }

    #[test]
    fn a_large_snapshot_waits_until_it_is_worth_its_write() {
        const LARGE: usize = 100 << 20;
        assert!(!grown(1023, 9000, 0).is_long(1024));
        assert!(grown(1024, 9000, 0).is_long(1024));
        assert!(grown(1024, 9000, 4500).is_long(1024));
        assert!(!grown(1024, LARGE + 50_000, LARGE).is_long(1024));
        assert!(grown(1024, 2 * LARGE, LARGE).is_long(1024));
        let many = grown(MOST_SEGMENTS, LARGE + 50_000, LARGE);
        assert!(many.is_long(1024) && many.is_worth_shortening());

        assert!(!grown(0, 9000, 4500).is_worth_shortening());
        assert!(grown(1, 9000, 9000).is_worth_shortening(), "it is little");
        assert!(!grown(1, LARGE + 50, LARGE).is_worth_shortening());
        assert!(grown(1, LARGE + LARGE / 8, LARGE).is_worth_shortening());
        assert!(grown(1000, LARGE, 0).is_worth_shortening(), "all ended");
    }

    #[test]
    fn what_is_held_is_what_has_not_ended() {
        let record = |kind| Record { record: Some(kind) };
        let query = |n: u8| Bytes::copy_from_slice(&[n; 16]);
        let accepted = |n, sql: &str| {
            let statement = Statement {
                sql: sql.to_string(),
                ..Statement::default()
            };
            record(Kind::Accepted(Accepted {
                query: query(n),
                statement: Some(statement),
            }))
        };
        let formed = |n| {
            record(Kind::StageFormed(StageFormed {
                query: query(n),
                ..StageFormed::default()
            }))
        };
        let finished = |n| {
            record(Kind::Finished(Finished {
                query: query(n),
                ..Finished::default()
            }))
        };
        let mut sizes = Sizes::default();
        sizes.note(&accepted(1, &"x".repeat(1000)));
        sizes.note(&accepted(2, ""));
        let both = sizes.sum();
        assert!((1000..1200).contains(&both), "{both}");
        for ended in [formed(3), finished(3)] {
            sizes.note(&ended);
            assert_eq!(sizes.sum(), both, "nothing is held of it");
        }
        sizes.note(&formed(2));
        assert!(sizes.sum() > both);
        sizes.note(&accepted(2, ""));
        assert_eq!(sizes.sum(), both, "it begins again");
        sizes.note(&finished(1));
        assert!(sizes.sum() < 200, "{}", sizes.sum());
        sizes.note(&record(Kind::Snapshot(Snapshot::default())));
        assert_eq!(sizes.sum(), 0);
    }
}
