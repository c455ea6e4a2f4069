//! The cluster as one scheduler sees it, for `GET /v1/status` and readiness.

use std::time::Duration;

use paceline_model::{CatalogVersion, ExecutorId, SchedulerId};
use serde::{Deserialize, Serialize};

/// Everything that `GET /v1/status` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The scheduler that answers.
    pub scheduler: SchedulerId,
    /// Its version of Paceline.
    pub version: String,
    /// Since when it runs; `uptime_seconds` in JSON.
    #[serde(rename = "uptime_seconds", with = "seconds")]
    pub uptime: Duration,
    /// The catalog version that it plans with.
    pub catalog: CatalogVersion,
    /// How many queries it drives.
    pub queries_running: u64,
    /// How many queries wait for their turn.
    pub queries_queued: u64,
    /// Every scheduler that it knows, itself included.
    pub schedulers: Vec<SchedulerStatus>,
    /// Every executor that is attached to it.
    pub executors: Vec<ExecutorStatus>,
}

/// One scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerStatus {
    /// Its id.
    pub id: SchedulerId,
    /// Its address for executors and peers, as `host:port`.
    pub address: String,
    /// Its public Flight address, as `grpc+tcp://host:port`.
    pub flight: String,
    /// Where it stands; empty if not told.
    pub zone: String,
    /// Its version of Paceline; empty if not known.
    pub version: String,
    /// Whether it is believed to be alive.
    pub live: bool,
    /// Whether it answers the scheduler that tells this. One may live that does not: changes of the
    /// catalog wait for it.
    #[serde(default = "not_told")]
    pub reachable: bool,
}

/// What a former version says of that.
fn not_told() -> bool {
    true
}

/// One executor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorStatus {
    /// Its id.
    pub id: ExecutorId,
    /// Its data plane, as `host:port`.
    pub address: String,
    /// Where it stands; empty if not told.
    pub zone: String,
    /// Its version of Paceline; empty if not known.
    pub version: String,
    /// How many partitions it runs at a time.
    pub slots: u32,
    /// How many of its slots are taken.
    pub slots_used: u32,
    /// Its memory pool, in bytes.
    pub memory_bytes: u64,
    /// How much of the pool is taken.
    pub memory_used_bytes: u64,
    /// Whether it is about to leave and takes no more tasks.
    pub draining: bool,
}

/// Whether new queries should be sent to a scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// They should.
    Ready,
    /// They should not, for these reasons, each a sentence.
    NotReady(Vec<String>),
}

/// A duration as a number of seconds.
mod seconds {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}
