//! What the core is told.

use std::sync::Arc;

use paceline_model::{
    Attempt, Epoch, ExecutorId, LostOutput, OutputId, OutputSummary, PartitionRange, QueryError,
    QueryId, StageGraph, StageId, TaskId,
};

use crate::Now;

/// Something that happened outside. Any of these may come at any time, twice, or too late.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A new query is to be run. One that is known already is left as it is.
    Submit {
        /// The query.
        query: QueryId,
        /// Its stages.
        graph: Arc<StageGraph>,
        /// How many owners it has had before. If there were any, it was planned afresh: what they left
        /// is of another plan and is not taken back.
        epoch: Epoch,
        /// When it fails if it has not finished.
        deadline: Option<Now>,
        /// Whether its client was told that it is accepted, so that it cannot be refused any more. There
        /// was [room](crate::Core::has_room) for it before.
        promised: bool,
    },
    /// A query is taken over from another owner. Admission does not hold it up.
    Adopt {
        /// The query.
        query: QueryId,
        /// Its stages.
        graph: Arc<StageGraph>,
        /// The new owner's epoch, higher than that of all owners before.
        epoch: Epoch,
        /// When it fails if it has not finished.
        deadline: Option<Now>,
        /// How stages were divided into tasks, and the outputs those left.
        stages: Vec<KnownStage>,
        /// What attached executors say that they hold of it.
        held: Vec<(ExecutorId, HeldQuery)>,
    },
    /// An executor attached. If it is known already, this refreshes what it holds: whatever is not
    /// named any more is lost.
    ExecutorAttached {
        /// The executor.
        executor: ExecutorId,
        /// Its data plane, as `host:port`.
        address: String,
        /// Where it stands.
        zone: String,
        /// How many slots it has.
        slots: u32,
        /// Whether it is on its way out and takes no new tasks.
        draining: bool,
        /// Everything it holds, by query; queries of other owners may be among them.
        held: Vec<HeldQuery>,
    },
    /// An executor answered what it holds of one query: later than the query was adopted.
    Held {
        /// The executor.
        executor: ExecutorId,
        /// What it holds.
        held: HeldQuery,
    },
    /// An executor is gone, however that was noticed.
    ExecutorLost {
        /// The executor.
        executor: ExecutorId,
        /// How it was noticed, in words.
        reason: String,
    },
    /// An executor takes no new tasks any more, but still runs and serves what it has.
    ExecutorDraining {
        /// The executor.
        executor: ExecutorId,
    },
    /// How busy an executor is, with the tasks of all schedulers together.
    Load {
        /// The executor.
        executor: ExecutorId,
        /// Slots of the tasks that run.
        slots_used: u32,
        /// Slots that the waiting tasks will need.
        slots_queued: u32,
    },
    /// What became of an attempt.
    TaskReport {
        /// The executor that says so.
        executor: ExecutorId,
        /// The attempt.
        id: OutputId,
        /// The epoch under which the executor runs it.
        epoch: Epoch,
        /// Its state.
        state: AttemptState,
    },
    /// A reader of the result could not read outputs of the root stage.
    ResultLost {
        /// The query.
        query: QueryId,
        /// What could not be read.
        lost: Vec<LostOutput>,
    },
    /// The query is to stop.
    Cancel {
        /// The query.
        query: QueryId,
    },
    /// Nobody wants the query's result any more.
    Released {
        /// The query.
        query: QueryId,
    },
    /// Time went by: the moment of the last [`Action::WakeAt`](crate::Action::WakeAt) has come.
    Tick,
}

/// The state of an attempt, as its executor reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptState {
    /// It runs.
    Running {
        /// Rows it has written so far.
        rows: u64,
        /// Bytes it has written so far.
        bytes: u64,
    },
    /// It left its whole output.
    Finished {
        /// What it left.
        summary: OutputSummary,
        /// Whether the output came back within the report and does not lie on the executor, so that
        /// it cannot be lost with it. Only ever so with results.
        inline: bool,
    },
    /// It failed.
    Failed(QueryError),
    /// It was stopped.
    Cancelled,
}

/// One attempt of one task of a query that is named beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptRef {
    /// The stage.
    pub stage: StageId,
    /// The task within the stage.
    pub task: TaskId,
    /// The attempt at the task.
    pub attempt: Attempt,
}

/// All that an executor holds of one query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldQuery {
    /// The query.
    pub query: QueryId,
    /// The highest epoch in which the executor was commanded for the query.
    pub epoch: Epoch,
    /// Finished attempts whose outputs it holds.
    pub finished: Vec<(AttemptRef, OutputSummary)>,
    /// Finished attempts whose outputs came back with this, as others come within reports. Only ever so
    /// with results, and when a new owner asks: the former one may have been all that had them.
    pub inline: Vec<(AttemptRef, OutputSummary)>,
    /// Attempts that wait or run there.
    pub running: Vec<AttemptRef>,
    /// Whether it obeys this very scheduler for the query, of which the core has been told all that there
    /// is to know: a query that it does not know has ended then.
    pub ours: bool,
}

/// What a former owner had made of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownStage {
    /// The stage.
    pub stage: StageId,
    /// All its tasks, in order. Together they take every partition of the stage once.
    pub tasks: Vec<KnownTask>,
    /// Attempts with lower numbers are of another division.
    pub floor: Attempt,
}

/// What a former owner had made of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTask {
    /// The partitions it takes.
    pub partitions: PartitionRange,
    /// The output that all its consumers read, if it had finished.
    pub output: Option<KnownOutput>,
}

/// An output that a former owner knew of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownOutput {
    /// The attempt that left it.
    pub attempt: Attempt,
    /// The executor that holds it.
    pub executor: ExecutorId,
    /// What it is.
    pub summary: OutputSummary,
}
