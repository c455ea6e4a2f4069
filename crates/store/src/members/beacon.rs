//! Beacons: what each scheduler says of itself, over and over.

use bytes::Bytes;
use futures::{StreamExt, stream};
use paceline_model::{Incarnation, SchedulerId};
use serde::{Deserialize, Serialize};

use crate::{Key, StateStore, StoreError, record};

const RECORD_VERSION: u32 = 1;
/// How many beacons are read at once.
const READERS: usize = 8;

/// Where a scheduler can be reached, each as `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Executors and other schedulers dial this.
    pub cluster: String,
    /// Flight SQL, as clients reach it.
    pub flight: String,
    /// HTTP, as clients reach it.
    pub http: String,
}

/// One scheduler's sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beacon {
    /// Who it is.
    pub scheduler: SchedulerId,
    /// Which of its lives.
    pub incarnation: Incarnation,
    /// Where to reach it.
    pub addresses: Addresses,
    /// The failure domain it runs in; empty if nobody said.
    #[serde(default)]
    pub zone: String,
    /// The version of Paceline it runs.
    pub version: String,
    /// Grows by one with each beat. No time of any clock: observers time its changes themselves.
    pub beat: u64,
}

#[derive(Serialize, Deserialize)]
struct BeaconRecord {
    v: u32,
    #[serde(flatten)]
    beacon: Beacon,
}

/// What a look at all beacons found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// Every beacon, in order of the schedulers' names.
    pub beacons: Vec<Beacon>,
    /// Beacons that cannot be understood, and why. One of them must not hide the others.
    pub unreadable: Vec<StoreError>,
}

/// The folder of beacons.
#[derive(Debug, Clone)]
pub struct Members {
    store: StateStore,
    folder: Key,
}

impl Members {
    /// The members of the store's cluster.
    pub fn new(store: StateStore) -> Self {
        let folder = Key::new("members");
        Members { store, folder }
    }

    /// Writes one's own beacon.
    ///
    /// # Errors
    /// [`StoreError`] if the store did not confirm it.
    pub async fn beat(&self, beacon: &Beacon) -> Result<(), StoreError> {
        let key = self.key(&beacon.scheduler);
        self.store.put(&key, &encode(beacon)).await
    }

    /// Reads all beacons.
    ///
    /// # Errors
    /// [`StoreError`] if the store did not answer; then nothing at all was observed.
    pub async fn list(&self) -> Result<Roster, StoreError> {
        let keys = self.store.list(&self.folder, None).await?;
        let mut reads = stream::iter(keys)
            .map(|key| async move { self.read(&key).await })
            .buffered(READERS);
        let mut roster = Roster::default();
        while let Some(read) = reads.next().await {
            match read {
                Ok(Some(beacon)) => roster.beacons.push(beacon),
                // Removed since it was listed.
                Ok(None) => {}
                Err(error @ (StoreError::Corrupt { .. } | StoreError::Newer { .. })) => {
                    roster.unreadable.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        roster.beacons.sort_by(|a, b| a.scheduler.cmp(&b.scheduler));
        Ok(roster)
    }

    /// When any beacon was written last, in milliseconds of the store's own clock; none without a
    /// beacon.
    pub(crate) async fn last_beat(&self) -> Result<Option<i64>, StoreError> {
        let found = self.store.found(&self.folder, None).await?;
        Ok(found.iter().map(|found| found.changed).max())
    }

    /// Removes a beacon: one's own on leaving, or that of a scheduler whose journal is drained.
    ///
    /// # Errors
    /// [`StoreError`] if the store did not confirm it.
    pub async fn remove(&self, scheduler: &SchedulerId) -> Result<(), StoreError> {
        self.store.delete(&self.key(scheduler)).await
    }

    fn key(&self, scheduler: &SchedulerId) -> Key {
        self.folder.child(scheduler.as_str())
    }

    async fn read(&self, key: &Key) -> Result<Option<Beacon>, StoreError> {
        let Some(payload) = self.store.get(key).await? else {
            return Ok(None);
        };
        let found: BeaconRecord = record::decode(&self.store, key, &payload, RECORD_VERSION)?;
        Ok(Some(found.beacon))
    }
}

fn encode(beacon: &Beacon) -> Bytes {
    record::encode(&BeaconRecord {
        v: RECORD_VERSION,
        beacon: beacon.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn the_record_is_frozen() {
        let beacon = Beacon {
            scheduler: SchedulerId::new("s1"),
            incarnation: Incarnation(Uuid::from_u128(7)),
            addresses: Addresses {
                cluster: "h:50052".to_string(),
                flight: "h:50051".to_string(),
                http: "h:8090".to_string(),
            },
            zone: "a".to_string(),
            version: "0.1.0".to_string(),
            beat: 3,
        };
        let golden = concat!(
            r#"{"v":1,"scheduler":"s1","incarnation":"00000000-0000-0000-0000-000000000007","#,
            r#""addresses":{"cluster":"h:50052","flight":"h:50051","http":"h:8090"},"#,
            r#""zone":"a","version":"0.1.0","beat":3}"#
        );
        assert_eq!(encode(&beacon), golden.as_bytes());
        let later = golden.replace(r#""v":1"#, r#""v":1,"mood":"fine""#);
        let read: BeaconRecord = serde_json::from_str(&later).unwrap();
        assert_eq!(read.beacon, beacon, "an unknown field is passed over");
    }
}
