//! Segments: the objects of a journal, and what their records mean for ownership.

use std::collections::BTreeMap;

use bytes::Bytes;
use paceline_core::ownership::{Entry, Hold, SegmentKind};
use paceline_model::{Epoch, SchedulerId};
use paceline_proto::state::record::Record as Kind;
use paceline_proto::state::{Adopted, Record, Segment, Statement};
use paceline_proto::{Malformed, query_id};
use prost::Message;
use uuid::Uuid;

use super::salvage::{self, Readable};
use crate::{Key, StateStore, StoreError};

/// The folder of a scheduler's journal.
pub(super) fn folder(scheduler: &SchedulerId) -> Key {
    Key::new("journal").child(scheduler.as_str())
}

/// The body of a segment of these records, under a new write id.
pub(super) fn encode(mut records: Vec<Record>) -> (Uuid, Bytes) {
    // A snapshot stands for the segments before this one, not for what comes with it.
    records.sort_by_key(|record| !matches!(record.record, Some(Kind::Snapshot(_))));
    let append = Uuid::new_v4();
    let segment = Segment {
        append: Bytes::copy_from_slice(append.as_bytes()),
        records,
    };
    (append, Bytes::from(segment.encode_to_vec()))
}

/// Reads a segment. What in it makes no sense is left out; what another version may understand is an
/// error, because it may decide who owns what.
pub(super) fn decode(
    store: &StateStore,
    key: &Key,
    payload: &Bytes,
) -> Result<Readable, StoreError> {
    let read = salvage::read(payload).map_err(|error| store.corrupt(key, error.to_string()))?;
    let mut records = read.segment.records.iter();
    if records.any(|record| record.record.is_none()) {
        return Err(store.newer(key, "a record of an unknown kind".to_string()));
    }
    Ok(read)
}

pub(super) fn kind_of(segment: &Segment) -> SegmentKind {
    match segment.records.first().and_then(|r| r.record.as_ref()) {
        Some(Kind::Snapshot(_)) => SegmentKind::Snapshot,
        _ => SegmentKind::Records,
    }
}

pub(super) fn sealed_by(segment: &Segment) -> Option<SchedulerId> {
    segment
        .records
        .iter()
        .find_map(|record| match &record.record {
            Some(Kind::Seal(seal)) => Some(SchedulerId::new(seal.by.as_str())),
            _ => None,
        })
}

/// What records mean for who owns what; most mean nothing.
///
/// # Errors
/// [`Malformed`] if one names no query.
pub fn entries_of(records: &[Record]) -> Result<Vec<Entry>, Malformed> {
    let mut entries = Vec::new();
    for record in records {
        entries.extend(entry_of(record)?);
    }
    Ok(entries)
}

fn entry_of(record: &Record) -> Result<Option<Entry>, Malformed> {
    Ok(match &record.record {
        Some(Kind::Accepted(accepted)) => Some(Entry::Owned {
            query: query_id(&accepted.query)?,
            hold: hold_of(Epoch(0), accepted.statement.as_ref()),
        }),
        Some(Kind::Adopted(adopted)) => Some(Entry::Owned {
            query: query_id(&adopted.query)?,
            hold: hold_of(Epoch(adopted.epoch), statement_of(adopted)),
        }),
        Some(Kind::Finished(finished)) => Some(Entry::Ended {
            query: query_id(&finished.query)?,
        }),
        Some(Kind::Seal(seal)) => Some(Entry::Seal {
            by: SchedulerId::new(seal.by.as_str()),
        }),
        Some(Kind::Snapshot(snapshot)) => {
            let mut owned = BTreeMap::new();
            for held in &snapshot.queries {
                let hold = hold_of(Epoch(held.epoch), statement_of(held));
                owned.insert(query_id(&held.query)?, hold);
            }
            Some(Entry::Snapshot { owned })
        }
        Some(Kind::StageFormed(_) | Kind::StageFinished(_) | Kind::Replanned(_)) | None => None,
    })
}

fn statement_of(adopted: &Adopted) -> Option<&Statement> {
    adopted.known.as_ref()?.statement.as_ref()
}

/// How a journal holds a query at an epoch, of which it says that. Of one whose statement cannot be read
/// others may have a copy that can.
fn hold_of(epoch: Epoch, statement: Option<&Statement>) -> Hold {
    let submitted = statement.is_none_or(|statement| statement.submitted);
    match Hold::at(epoch) {
        Hold::Accepted if submitted => Hold::Submitted,
        hold => hold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paceline_proto::state;

    fn record(kind: Kind) -> Record {
        Record { record: Some(kind) }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Every kind of record, with its frozen bytes. Add to it; never change a line.
    #[test]
    fn every_kind_is_frozen() {
        let query = Bytes::from_static(&[7; 16]);
        let known = state::Known {
            statement: Some(state::Statement {
                sql: "S".to_string(),
                catalog_version: 3,
                submitted: true,
                ..state::Statement::default()
            }),
            ..state::Known::default()
        };
        let adopted = state::Adopted {
            query: query.clone(),
            epoch: 2,
            known: Some(known.clone()),
        };
        let golden = [
            (
                Kind::Accepted(state::Accepted {
                    query: query.clone(),
                    statement: known.statement.clone(),
                }),
                "0a1b0a100707070707070707070707070707070712070a015318032801",
            ),
            (
                Kind::StageFormed(state::StageFormed {
                    query: query.clone(),
                    stage: 1,
                    tasks: vec![state::PartitionRange { first: 0, count: 4 }],
                    first_attempt: 0,
                }),
                "12180a100707070707070707070707070707070710011a021004",
            ),
            (
                Kind::StageFinished(state::StageFinished {
                    query: query.clone(),
                    stage: 1,
                    outputs: vec![state::TaskOutput {
                        attempt: 1,
                        executor: "e".to_string(),
                        address: "h:1".to_string(),
                        rows: 5,
                        bytes: 40,
                        partition_bytes: vec![40],
                        disk_bytes: 0,
                    }],
                }),
                "1a270a100707070707070707070707070707070710011a1108011201651a03683a3120052828320128",
            ),
            (
                Kind::Replanned(state::Replanned {
                    query: query.clone(),
                    graph: None,
                }),
                "22120a1007070707070707070707070707070707",
            ),
            (
                Kind::Adopted(adopted.clone()),
                "2a1f0a100707070707070707070707070707070710021a090a070a015318032801",
            ),
            (
                Kind::Finished(state::Finished {
                    query,
                    epoch: 2,
                    state: "failed".to_string(),
                    error_class: "user".to_string(),
                    error_message: "m".to_string(),
                }),
                "32250a100707070707070707070707070707070710021a066661696c6564220475736572\
                 2a016d",
            ),
            (
                Kind::Seal(state::Seal {
                    by: "s2".to_string(),
                }),
                "3a040a027332",
            ),
            (
                Kind::Snapshot(state::Snapshot {
                    queries: vec![adopted],
                }),
                "42210a1f0a100707070707070707070707070707070710021a090a070a015318032801",
            ),
        ];
        for (kind, bytes) in golden {
            let record = record(kind);
            assert_eq!(hex(&record.encode_to_vec()), bytes, "{record:?}");
            entry_of(&record).unwrap();
        }
    }

    #[test]
    fn a_snapshot_goes_first() {
        let seal = Kind::Seal(state::Seal::default());
        let snapshot = Kind::Snapshot(state::Snapshot::default());
        let (append, body) = encode(vec![record(seal), record(snapshot)]);
        let segment = Segment::decode(body).unwrap();
        assert_eq!(segment.append, &append.as_bytes()[..]);
        assert_eq!(kind_of(&segment), SegmentKind::Snapshot);
    }

    #[test]
    fn a_record_without_its_query_is_refused() {
        let nameless = record(Kind::Accepted(state::Accepted::default()));
        assert_eq!(entries_of(&[nameless]).unwrap_err().field, "query");
    }
}
