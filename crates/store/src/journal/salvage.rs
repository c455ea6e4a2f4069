//! What can be read of a segment, when not all of it can.
//!
//! The journal of a scheduler that is gone has to come to its end whatever one of its records says:
//! before that, nobody adopts what the others hold. So a record that names no query is left out and
//! told of; and one that names its query, and cannot be read beyond that, stands for a query of which
//! nothing else is known: it gets an owner, who gives it an outcome that says what is missing.
//!
//! All of this follows from bytes that the checksum of the object vouches for, so every reader leaves
//! out the same.

use bytes::Bytes;
use paceline_model::QueryId;
use paceline_proto::state::record::Record as Kind;
use paceline_proto::state::{Accepted, Adopted, Record, Segment, Snapshot};
use paceline_proto::{Malformed, query_id};
use prost::{DecodeError, Message};

/// A segment, as far as it can be read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Readable {
    pub(super) segment: Segment,
    /// What cannot be read, and why.
    pub(super) left_out: Vec<String>,
}

impl Readable {
    /// What stands for a segment that counts for nothing.
    pub(super) fn nothing(why: String) -> Self {
        Readable {
            segment: Segment::default(),
            left_out: vec![why],
        }
    }

    /// The same for a snapshot: what comes behind it counts.
    pub(super) fn empty_snapshot(why: String) -> Self {
        let snapshot = Kind::Snapshot(Snapshot::default());
        let record = Record {
            record: Some(snapshot),
        };
        let mut nothing = Readable::nothing(why);
        nothing.segment.records.push(record);
        nothing
    }
}

/// A [`Segment`] with its records as they were written.
#[derive(Clone, PartialEq, Message)]
struct Pieces {
    #[prost(bytes = "bytes", tag = "1")]
    append: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    records: Vec<Bytes>,
}

/// A [`Record`] of one of the kinds that say who owns a query, with what is in it as it was written.
#[derive(Clone, PartialEq, Message)]
struct Kinds {
    #[prost(bytes = "bytes", tag = "1")]
    accepted: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    adopted: Bytes,
    #[prost(bytes = "bytes", tag = "8")]
    snapshot: Bytes,
}

/// An [`Accepted`], but for its statement.
#[derive(Clone, PartialEq, Message)]
struct AcceptedId {
    #[prost(bytes = "bytes", tag = "1")]
    query: Bytes,
}

/// An [`Adopted`], but for what is known of its query.
#[derive(Clone, PartialEq, Message)]
struct AdoptedId {
    #[prost(bytes = "bytes", tag = "1")]
    query: Bytes,
    #[prost(uint64, tag = "2")]
    epoch: u64,
}

/// A [`Snapshot`] with its queries as they were written.
#[derive(Clone, PartialEq, Message)]
struct SnapshotPieces {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    queries: Vec<Bytes>,
}

/// Reads as much of a segment as there is to be read.
///
/// # Errors
/// If it is no segment at all.
pub(super) fn read(payload: &Bytes) -> Result<Readable, DecodeError> {
    let mut left_out = Vec::new();
    let segment = match Segment::decode(payload.clone()) {
        Ok(segment) => segment,
        Err(_) => by_pieces(payload, &mut left_out)?,
    };
    let mut read = Readable { segment, left_out };
    read.left_out.extend(leave_out(&mut read.segment.records));
    Ok(read)
}

/// Leaves out what names no query, and says what that was.
pub(super) fn leave_out(records: &mut Vec<Record>) -> Vec<String> {
    let mut left_out = Vec::new();
    records.retain_mut(|record| match &mut record.record {
        Some(Kind::Snapshot(snapshot)) => {
            snapshot
                .queries
                .retain(|held| names("snapshot", &held.query, &mut left_out));
            true
        }
        Some(kind) => match query_of(kind) {
            Some((what, query)) => names(what, query, &mut left_out),
            None => true,
        },
        None => true,
    });
    left_out
}

/// The query that a record is of, if it names one.
pub(super) fn query_named(record: &Record) -> Option<QueryId> {
    let (_, query) = query_of(record.record.as_ref()?)?;
    query_id(query).ok()
}

/// The query that a record is of, and what its kind is called.
fn query_of(kind: &Kind) -> Option<(&'static str, &Bytes)> {
    Some(match kind {
        Kind::Accepted(it) => ("accepted", &it.query),
        Kind::StageFormed(it) => ("stage_formed", &it.query),
        Kind::StageFinished(it) => ("stage_finished", &it.query),
        Kind::Replanned(it) => ("replanned", &it.query),
        Kind::Adopted(it) => ("adopted", &it.query),
        Kind::Finished(it) => ("finished", &it.query),
        Kind::Seal(_) | Kind::Snapshot(_) => return None,
    })
}

fn names(what: &str, query: &Bytes, left_out: &mut Vec<String>) -> bool {
    match query_id(query) {
        Ok(_) => true,
        Err(Malformed { field, problem }) => {
            left_out.push(format!("{what}: {field} {problem}"));
            false
        }
    }
}

fn by_pieces(payload: &Bytes, left_out: &mut Vec<String>) -> Result<Segment, DecodeError> {
    let Pieces { append, records } = Pieces::decode(payload.clone())?;
    let records = records.iter().filter_map(|written| {
        let error = match Record::decode(written.clone()) {
            Ok(record) => return Some(record),
            Err(error) => error,
        };
        left_out.push(error.to_string());
        let kinds = Kinds::decode(written.clone()).ok()?;
        Some(Record {
            record: Some(kinds.salvage(left_out)?),
        })
    });
    let records = records.collect();
    Ok(Segment { append, records })
}

impl Kinds {
    /// What the record says of its queries beyond doubt; nothing, if they are not named.
    fn salvage(self, left_out: &mut Vec<String>) -> Option<Kind> {
        if !self.accepted.is_empty() {
            let AcceptedId { query } = AcceptedId::decode(self.accepted).ok()?;
            let statement = None;
            return Some(Kind::Accepted(Accepted { query, statement }));
        }
        if !self.adopted.is_empty() {
            return adopted(&self.adopted).map(Kind::Adopted);
        }
        if self.snapshot.is_empty() {
            return None;
        }
        let written = SnapshotPieces::decode(self.snapshot).ok()?.queries;
        let queries = written.iter().filter_map(|written| {
            let held = adopted(written);
            if held.is_none() {
                left_out.push("snapshot: a query in it cannot be read".to_string());
            }
            held
        });
        let queries = queries.collect();
        Some(Kind::Snapshot(Snapshot { queries }))
    }
}

fn adopted(written: &Bytes) -> Option<Adopted> {
    Adopted::decode(written.clone()).ok().or_else(|| {
        let AdoptedId { query, epoch } = AdoptedId::decode(written.clone()).ok()?;
        let known = None;
        Some(Adopted {
            query,
            epoch,
            known,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use paceline_proto::state::{Finished, Known, StageFormed, Statement};

    fn id(n: u8) -> Bytes {
        Bytes::copy_from_slice(&[n; 16])
    }

    fn statement() -> Option<Statement> {
        Some(Statement {
            sql: "SELECT 1".to_string(),
            ..Statement::default()
        })
    }

    fn accepted(query: Bytes) -> Record {
        let statement = statement();
        Record {
            record: Some(Kind::Accepted(Accepted { query, statement })),
        }
    }

    fn held(query: Bytes, epoch: u64) -> Adopted {
        let known = Some(Known {
            statement: statement(),
            ..Known::default()
        });
        Adopted {
            query,
            epoch,
            known,
        }
    }

    fn snapshot(queries: Vec<Adopted>) -> Record {
        Record {
            record: Some(Kind::Snapshot(Snapshot { queries })),
        }
    }

    fn encoded(records: Vec<Record>) -> Vec<u8> {
        let append = id(0);
        Segment { append, records }.encode_to_vec()
    }

    /// Of the statements `SELECT 1` in a segment, makes the one after so many others no text.
    fn damage(segment: &mut [u8], which: usize) {
        let text = b"SELECT 1";
        let at = segment.windows(text.len()).enumerate();
        let at: Vec<usize> = at
            .filter_map(|(at, found)| (found == text).then_some(at))
            .collect();
        segment[at[which]] = 0xff;
    }

    #[test]
    fn what_names_no_query_is_left_out_and_the_rest_is_not() {
        let formed = Kind::StageFormed(StageFormed {
            query: Bytes::from_static(b"short"),
            ..StageFormed::default()
        });
        let finished = Kind::Finished(Finished::default());
        let of = |kind| Record { record: Some(kind) };
        let whole = vec![
            snapshot(vec![held(id(1), 2)]),
            accepted(id(3)),
            accepted(id(4)),
        ];
        let read = read(&Bytes::from(encoded(vec![
            snapshot(vec![held(id(1), 2), held(Bytes::new(), 1)]),
            accepted(id(3)),
            accepted(Bytes::from_static(b"no id")),
            of(formed),
            of(finished),
            accepted(id(4)),
        ])))
        .unwrap();
        assert_eq!(read.segment.records, whole);
        let kinds = read.left_out.iter().map(|it| it.split(':').next().unwrap());
        let kinds: Vec<&str> = kinds.collect();
        assert_eq!(kinds, ["snapshot", "accepted", "stage_formed", "finished"]);
    }

    #[test]
    fn a_query_whose_record_cannot_be_read_is_held_all_the_same() {
        let all = [
            snapshot(vec![held(id(1), 2), held(id(2), 1)]),
            accepted(id(3)),
            Record {
                record: Some(Kind::Adopted(held(id(4), 7))),
            },
        ];
        let mut damaged = encoded(all.to_vec());
        for which in [3, 2, 1] {
            damage(&mut damaged, which);
        }
        let read = read(&Bytes::from(damaged)).unwrap();
        let nothing = |query, epoch| Adopted {
            query,
            epoch,
            known: None,
        };
        let left = [
            snapshot(vec![held(id(1), 2), nothing(id(2), 1)]),
            Record {
                record: Some(Kind::Accepted(Accepted {
                    query: id(3),
                    statement: None,
                })),
            },
            Record {
                record: Some(Kind::Adopted(nothing(id(4), 7))),
            },
        ];
        assert_eq!(read.segment.records, left);
        assert_eq!(read.left_out.len(), 3, "{:?}", read.left_out);
    }

    #[test]
    fn what_is_no_segment_is_an_error() {
        assert!(read(&Bytes::from_static(b"\x0a\x7fshort")).is_err());
    }
}
