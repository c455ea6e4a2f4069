//! What is in a stored result: its index, and the short form that the query's outcome carries.

use bytes::Bytes;
use paceline_model::Epoch;
use serde::{Deserialize, Serialize};

/// The version in which index and manifest are written.
pub(super) const RECORD_VERSION: u32 = 1;

/// One part of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultPart {
    /// Its number among the names of parts. Numbers that an earlier writer had taken are left out.
    pub number: u64,
    /// How many rows are in it.
    pub rows: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// What makes parts a result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultIndex {
    /// The columns, as whoever wrote the parts encodes them.
    #[serde(with = "crate::base64_text")]
    pub schema: Bytes,
    /// The parts, in the order of their rows.
    pub parts: Vec<ResultPart>,
    /// How many rows there are in all.
    pub rows: u64,
    /// How many bytes the parts have in all.
    pub bytes: u64,
}

impl ResultIndex {
    /// The index of these parts.
    pub(super) fn of(schema: Bytes, parts: Vec<ResultPart>) -> Self {
        ResultIndex {
            schema,
            rows: parts.iter().map(|part| part.rows).sum(),
            bytes: parts.iter().map(|part| part.bytes).sum(),
            parts,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct IndexRecord {
    pub(super) v: u32,
    #[serde(flatten)]
    pub(super) index: ResultIndex,
}

/// Which result of a query counts. The outcome of a finished query carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultManifest {
    /// The epoch of the owner that wrote it.
    pub epoch: Epoch,
    /// How many parts it has.
    pub parts: u64,
    /// How many rows.
    pub rows: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Until when it is kept, in milliseconds since 1970 by the clock of whoever ended the query.
    /// Nothing but whether it is given out and removed may rely on it.
    pub expires_at_unix_ms: u64,
}

impl ResultManifest {
    /// The manifest of a result that was written at `epoch`.
    pub fn of(index: &ResultIndex, epoch: Epoch, expires_at_unix_ms: u64) -> Self {
        ResultManifest {
            epoch,
            parts: index.parts.len() as u64,
            rows: index.rows,
            bytes: index.bytes,
            expires_at_unix_ms,
        }
    }

    /// The manifest as an outcome carries it.
    pub fn to_json(self) -> serde_json::Value {
        // A plain struct of numbers, for which it cannot fail.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The manifest that an outcome carries; none if it carries none.
    pub fn from_json(value: &serde_json::Value) -> Option<Self> {
        serde::Deserialize::deserialize(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record;

    #[test]
    fn the_records_are_frozen() {
        let part = |number, rows, bytes| ResultPart {
            number,
            rows,
            bytes,
        };
        let parts = vec![part(0, 3, 100), part(2, 1, 40)];
        let index = ResultIndex::of(Bytes::from_static(b"ab"), parts);
        let golden = br#"{"v":1,"schema":"YWI=","parts":[{"number":0,"rows":3,"bytes":100},{"number":2,"rows":1,"bytes":40}],"rows":4,"bytes":140}"#;
        let record = IndexRecord {
            v: RECORD_VERSION,
            index: index.clone(),
        };
        assert_eq!(record::encode(&record), &golden[..]);
        let read: IndexRecord = serde_json::from_slice(golden).unwrap();
        assert_eq!(read.index, index);

        let manifest = ResultManifest::of(&index, Epoch(2), 1234);
        let golden = serde_json::json!({
            "epoch": 2, "parts": 2, "rows": 4, "bytes": 140, "expires_at_unix_ms": 1234
        });
        assert_eq!(manifest.to_json(), golden);
        assert_eq!(ResultManifest::from_json(&golden), Some(manifest));
        assert_eq!(ResultManifest::from_json(&serde_json::Value::Null), None);
    }
}
