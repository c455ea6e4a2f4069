//! How records of the state are written: JSON with a version `v`, unknown fields ignored.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Key, StateStore, StoreError};

#[derive(serde::Deserialize)]
struct Versioned {
    v: u32,
}

/// Writes a record.
///
/// Records are plain structs with string keys, for which JSON cannot fail; should one ever, the
/// empty object that comes out is refused by every reader.
pub(crate) fn encode<T: Serialize>(record: &T) -> Bytes {
    serde_json::to_vec(record).map_or_else(|_| Bytes::from_static(b"{}"), Bytes::from)
}

/// Reads a record that was written in version `supported` or before.
pub(crate) fn decode<T: DeserializeOwned>(
    store: &StateStore,
    key: &Key,
    payload: &[u8],
    supported: u32,
) -> Result<T, StoreError> {
    let corrupt = |error: serde_json::Error| store.corrupt(key, error.to_string());
    let Versioned { v } = serde_json::from_slice(payload).map_err(corrupt)?;
    if v > supported {
        return Err(store.newer(key, format!("record version {v}, here {supported}")));
    }
    serde_json::from_slice(payload).map_err(corrupt)
}
