//! One task: which attempt at it counts, and how often it failed.
//!
//! ```text
//!            inputs may be missing; the stage knows          launch
//!   Idle ──wanted──► Ready ─────────────────────────────────────────► Running
//!    ▲                 ▲ ▲                                              │ │
//!    │                 │ └── lost, or its input came out otherwise ─────┤ │ finished
//!    │                 └──── Backoff ◄───────────────────────── failed ─┘ ▼
//!    └── nobody reads it any more ───────────────────────────────────── Finished
//! ```

use std::sync::Arc;

use paceline_model::{Attempt, Epoch, ExecutorId, OutputSummary, PartitionRange, StageId, TaskId};

use crate::Now;

/// Attempts per epoch. An owner must never reuse the number of an attempt that a former owner
/// launched, even one it never heard of; so each epoch counts from its own start.
const ATTEMPTS_PER_EPOCH: u64 = 1 << 16;

/// The first attempt that an owner of this epoch launches.
pub(crate) fn first_attempt(epoch: Epoch) -> Attempt {
    let first = epoch.0.saturating_mul(ATTEMPTS_PER_EPOCH);
    Attempt(u32::try_from(first).unwrap_or(u32::MAX - ATTEMPTS_PER_EPOCH as u32))
}

/// A task's place in its query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskAt {
    pub(crate) stage: StageId,
    pub(crate) task: TaskId,
}

/// An attempt that was launched and whose end is not known.
#[derive(Debug, Clone)]
pub(crate) struct RunningAttempt {
    pub(crate) executor: ExecutorId,
    pub(crate) attempt: Attempt,
    pub(crate) slots: u32,
}

/// The output that all readers of a task read.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) executor: ExecutorId,
    pub(crate) attempt: Attempt,
    pub(crate) summary: Arc<OutputSummary>,
    /// Whether it came back within the report and lies on no executor.
    pub(crate) inline: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum TaskState {
    /// Nobody needs its output.
    Idle,
    /// It is to run as soon as its stage has its inputs and an executor has room.
    Ready,
    /// It failed and waits for a while.
    Backoff { until: Now },
    /// An attempt was launched.
    Running(RunningAttempt),
    /// Its output can be read.
    Finished(Output),
}

impl TaskState {
    /// The executor and attempt that it stands for, if any lies on an executor.
    pub(crate) fn held(&self) -> Option<(&ExecutorId, Attempt)> {
        match self {
            TaskState::Running(run) => Some((&run.executor, run.attempt)),
            TaskState::Finished(output) if !output.inline => {
                Some((&output.executor, output.attempt))
            }
            _ => None,
        }
    }

    pub(crate) fn is_held_by(&self, executor: &ExecutorId) -> bool {
        self.held().is_some_and(|(holder, _)| holder == executor)
    }

    /// Whether this very attempt on this very executor is the one that counts.
    pub(crate) fn is_current(&self, executor: &ExecutorId, attempt: Attempt) -> bool {
        match self {
            TaskState::Running(run) => run.executor == *executor && run.attempt == attempt,
            TaskState::Finished(output) => {
                output.executor == *executor && output.attempt == attempt
            }
            _ => false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) partitions: PartitionRange,
    pub(crate) state: TaskState,
    /// The number of the next attempt.
    pub(crate) next: Attempt,
    /// Attempts below this number read what is not true any more: they must never be taken back.
    pub(crate) floor: Attempt,
    /// Attempts that failed or died with their executor.
    pub(crate) failures: u32,
    /// Where it failed last.
    pub(crate) avoid: Option<ExecutorId>,
}

impl Task {
    pub(crate) fn new(partitions: PartitionRange, next: Attempt, floor: Attempt) -> Self {
        Task {
            partitions,
            state: TaskState::Idle,
            next,
            floor,
            failures: 0,
            avoid: None,
        }
    }

    /// Whether an attempt that an executor still has may count again: nothing took its place, and
    /// what it read is still true.
    pub(crate) fn may_take_back(&self, attempt: Attempt) -> bool {
        let vacant = matches!(self.state, TaskState::Ready | TaskState::Backoff { .. });
        vacant && (self.floor..self.next).contains(&attempt)
    }
}
