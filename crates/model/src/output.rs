//! Exchange outputs: what an attempt left, and where it lies.

use serde::{Deserialize, Serialize};

use crate::{Attempt, ExecutorId, TaskId};

/// More partitions than any stage or exchange has. What another process says of more is nonsense.
pub const MOST_PARTITIONS: u32 = 1 << 20;

/// A run of partitions: `first`, `first + 1`, … `count` of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartitionRange {
    /// The lowest partition.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl PartitionRange {
    /// The partitions `first..first + count`.
    pub fn new(first: u32, count: u32) -> Self {
        PartitionRange { first, count }
    }

    /// The same, if there can be such partitions: for what another process says. Whoever reads a range
    /// makes room for each of its partitions.
    pub fn try_new(first: u32, count: u32) -> Option<Self> {
        let end = first.checked_add(count)?;
        (end <= MOST_PARTITIONS).then_some(PartitionRange { first, count })
    }

    /// One past the highest partition.
    pub fn end(&self) -> u32 {
        self.first + self.count
    }

    /// Whether the range has that partition.
    pub fn contains(&self, partition: u32) -> bool {
        (self.first..self.end()).contains(&partition)
    }

    /// The partitions, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<> {
        self.first..self.end()
    }
}

/// What an attempt left behind, as its executor reports it: the part of the manifest that
/// scheduling needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSummary {
    /// Rows in all partitions.
    pub rows: u64,
    /// Bytes in memory of all partitions, uncompressed.
    pub bytes: u64,
    /// Bytes of each partition of a [`Forward`](crate::ExchangeKind::Forward) output, in order. None of
    /// a hash exchange: each of its readers takes from every output, so nothing is decided by how an
    /// output is divided, and a number for each reader would make what is said of outputs grow with
    /// producers × consumers.
    pub partition_bytes: Vec<u64>,
    /// Bytes that lie on disk; the rest is in memory.
    pub disk_bytes: u64,
}

/// Where one producer task's output lies. A list of these, one for each task of a producing stage,
/// travels beside the plan of the stage that reads them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputLocation {
    /// The producing task.
    pub task: TaskId,
    /// The attempt that all consumers read.
    pub attempt: Attempt,
    /// The partitions that the output has.
    pub partitions: PartitionRange,
    /// The executor that holds it.
    pub executor: ExecutorId,
    /// That executor's data plane, as `host:port`.
    pub address: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_no_exchange_has_is_none() {
        let last = MOST_PARTITIONS - 1;
        for (first, count) in [(0, 0), (0, MOST_PARTITIONS), (last, 1), (7, 3)] {
            let range = PartitionRange::try_new(first, count);
            assert_eq!(range, Some(PartitionRange::new(first, count)));
        }
        for (first, count) in [(0, u32::MAX), (u32::MAX, 2), (last, 2), (u32::MAX, 0)] {
            assert_eq!(PartitionRange::try_new(first, count), None);
        }
    }
}
