//! The cluster that a state location belongs to.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Created, Key, StateStore, StoreError, record};

/// The layout of the state that this Paceline reads and writes.
const FORMAT: u32 = 1;
const RECORD_VERSION: u32 = 1;

/// Why a process cannot join the cluster of a location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state was laid out by another version of Paceline.
    #[error(
        "the state at {location} has format {found}, and this Paceline reads and writes format {supported}: use the version of Paceline that made it, or another location"
    )]
    Format {
        /// The state location.
        location: String,
        /// The format found there.
        found: u32,
        /// The format of this process.
        supported: u32,
    },
}

/// Names a cluster for as long as its state exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterIdentity {
    /// Drawn by whoever first used the location.
    pub id: Uuid,
}

#[derive(Debug, Serialize, Deserialize)]
struct ClusterRecord {
    v: u32,
    cluster: Uuid,
    format: u32,
}

impl ClusterIdentity {
    /// Reads the identity of the state's cluster, and founds the cluster if there is none.
    ///
    /// # Errors
    /// [`ClusterError`] if the store cannot be used or holds state of another format.
    pub async fn establish(store: &StateStore) -> Result<Self, ClusterError> {
        let key = Key::new("cluster");
        if let Some(payload) = store.get(&key).await? {
            return Self::read(store, &key, &payload);
        }
        let id = Uuid::new_v4();
        match store.create(&key, &encode(id)).await? {
            Created::Won => Ok(ClusterIdentity { id }),
            Created::Exists(payload) => Self::read(store, &key, &payload),
        }
    }

    fn read(store: &StateStore, key: &Key, payload: &[u8]) -> Result<Self, ClusterError> {
        let found: ClusterRecord = record::decode(store, key, payload, RECORD_VERSION)?;
        if found.format != FORMAT {
            return Err(ClusterError::Format {
                location: store.location().to_string(),
                found: found.format,
                supported: FORMAT,
            });
        }
        Ok(ClusterIdentity { id: found.cluster })
    }
}

fn encode(cluster: Uuid) -> bytes::Bytes {
    record::encode(&ClusterRecord {
        v: RECORD_VERSION,
        cluster,
        format: FORMAT,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_frozen() {
        assert_eq!(
            encode(Uuid::from_u128(7)),
            &br#"{"v":1,"cluster":"00000000-0000-0000-0000-000000000007","format":1}"#[..]
        );
    }
}
