//! What the core wants done.

use std::sync::Arc;

use paceline_model::{
    Attempt, Epoch, ExecutorId, OutputLocation, OutputSummary, PartitionRange, QueryError, QueryId,
    StageId, StageProgress, TaskId,
};

use crate::{AttemptRef, Now};

/// Something to be done outside, in the order given. Whatever gets lost on the way comes back as an
/// event: a report, a lost executor, an inventory.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The stage was divided into tasks, and stays so for the rest of the query's life.
    StageFormed {
        /// The query.
        query: QueryId,
        /// The stage.
        stage: StageId,
        /// The partitions that each task takes, in order.
        tasks: Vec<PartitionRange>,
        /// Attempts with lower numbers are of another division.
        floor: Attempt,
    },
    /// All tasks of the stage finished and its outputs can be read. Said again when outputs were
    /// lost and made again.
    StageFinished {
        /// The query.
        query: QueryId,
        /// The stage.
        stage: StageId,
        /// What it left.
        outputs: StageOutputs,
    },
    /// The query has its one outcome. Said exactly once for every query submitted or adopted.
    Settled {
        /// The query.
        query: QueryId,
        /// What became of it.
        outcome: Outcome,
        /// How far each stage had come.
        stages: Vec<StageProgress>,
    },
    /// Parts of a settled query's result were lost and made again; it can be read from here.
    ResultChanged {
        /// The query.
        query: QueryId,
        /// Where the result now lies.
        result: StageOutputs,
        /// Whether rows may have come out otherwise than before, so that whoever read a part of
        /// the former result has to start over.
        restart: bool,
    },
    /// A settled query's result was lost and cannot be made again. The query is forgotten.
    ResultGone {
        /// The query.
        query: QueryId,
        /// Why.
        error: QueryError,
    },
    /// Let the executor know whose the query is: it obeyed an earlier owner when it attached, and
    /// would tell that one how its attempts end.
    AnnounceOwner {
        /// The executor.
        executor: ExecutorId,
        /// The query.
        query: QueryId,
        /// The owner's epoch.
        epoch: Epoch,
    },
    /// Stop these attempts; what they may have left is of no use.
    CancelAttempts {
        /// The executor that runs them.
        executor: ExecutorId,
        /// The query.
        query: QueryId,
        /// The owner's epoch.
        epoch: Epoch,
        /// The attempts.
        attempts: Vec<AttemptRef>,
    },
    /// Nobody will read these outputs again.
    ReleaseOutputs {
        /// The executor that holds them.
        executor: ExecutorId,
        /// The query.
        query: QueryId,
        /// The owner's epoch.
        epoch: Epoch,
        /// The attempts that left them.
        outputs: Vec<AttemptRef>,
    },
    /// Stop everything of the query and drop all it left. Goes to every attached executor that was
    /// ever given something of it.
    EndQuery {
        /// The executor.
        executor: ExecutorId,
        /// The query.
        query: QueryId,
        /// The owner's epoch.
        epoch: Epoch,
    },
    /// Run these tasks of a stage: all that this executor is to start of it now.
    Launch {
        /// The executor.
        executor: ExecutorId,
        /// The query.
        query: QueryId,
        /// The owner's epoch.
        epoch: Epoch,
        /// The stage.
        stage: StageId,
        /// The tasks, at least one.
        tasks: Vec<TaskLaunch>,
        /// For each input of the stage, the outputs of its tasks in order.
        inputs: Vec<(StageId, Arc<[OutputLocation]>)>,
    },
    /// The last query has gone, and something is still held for queries. Never said but by mistake.
    LeftBehind {
        /// What is held, in words.
        what: String,
    },
    /// Send [`Event::Tick`](crate::Event::Tick) at this time. Replaces the time asked for before.
    WakeAt(Now),
}

/// One task of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskLaunch {
    /// The task.
    pub task: TaskId,
    /// The attempt at it.
    pub attempt: Attempt,
    /// The partitions it takes.
    pub partitions: PartitionRange,
    /// Slots that it occupies while it runs.
    pub slots: u32,
}

/// What the tasks of a stage left, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageOutputs {
    /// Where each task's output lies.
    pub locations: Arc<[OutputLocation]>,
    /// What each task's output is.
    pub summaries: Vec<Arc<OutputSummary>>,
}

/// What became of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It finished. Its result can be read until it is released.
    Finished {
        /// The outputs of the root stage.
        result: StageOutputs,
    },
    /// It failed.
    Failed(QueryError),
    /// It was cancelled.
    Cancelled,
}
