//! How the bytes that a task may have on their way are shared among what it reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::frame::FRAME_BYTES;

/// The budget of one reader.
#[derive(Debug)]
pub(crate) struct ReadBudget {
    bytes: u64,
    active: AtomicUsize,
    pub(crate) local: AtomicU64,
    pub(crate) remote: AtomicU64,
}

/// A stream that takes part in the budget, from its first poll until it ends.
#[derive(Debug)]
pub(crate) struct Active(Arc<ReadBudget>);

impl ReadBudget {
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(ReadBudget {
            bytes,
            active: AtomicUsize::new(0),
            local: AtomicU64::new(0),
            remote: AtomicU64::new(0),
        })
    }

    pub(crate) fn activate(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(Arc::clone(self))
    }

    /// How many lanes a stream may keep filled, of those it will read next, and how many bytes each
    /// may have: at least one lane and one byte, which lets one frame through.
    pub(crate) fn share(&self, lanes: usize) -> (usize, u64) {
        let active = self.active.load(Ordering::Relaxed).max(1) as u64;
        let share = self.bytes / active;
        let affordable = usize::try_from(share / FRAME_BYTES).unwrap_or(usize::MAX);
        let filled = affordable.clamp(1, lanes.max(1));
        (filled, (share / filled as u64).max(1))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_gets_at_least_one_frame() {
        let budget = ReadBudget::new(8 << 20);
        assert_eq!(budget.share(3), (3, (8 << 20) / 3));
        assert_eq!(budget.share(100), (8, 1 << 20));
        let streams: Vec<_> = (0..16).map(|_| budget.activate()).collect();
        assert_eq!(budget.share(100), (1, 512 << 10));
        drop(streams);
        assert_eq!(ReadBudget::new(0).share(5), (1, 1));
    }
}
