//! What a scheduler remembers of a query for those who ask.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use paceline_core::StageOutputs;
use paceline_model::{
    Attempt, Epoch, ErrorClass, OutputLocation, QueryError, QueryId, QueryState, QueryStatus,
    SchedulerId, StageId, StageProgress, TaskId,
};
use paceline_plan::QueryPlan;
use tokio::sync::watch;

use crate::operators::Operators;

/// One piece of a result, in the order in which rows are given out.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// It came back with the task's final state, as an Arrow IPC stream.
    Inline(Bytes),
    /// It lies on an executor.
    Remote(OutputLocation),
}

/// Whether the result can be read.
#[derive(Debug, Clone)]
pub(crate) enum ResultState {
    /// Not yet.
    Pending,
    /// From these parts. Each time parts were made again there is another version.
    Ready {
        /// Counts up from 0.
        version: u32,
        /// The version before which nothing that was read may be relied on.
        valid_from: u32,
        /// The root stage.
        stage: StageId,
        /// The parts, one for each task of the root stage.
        parts: Arc<[Part]>,
    },
    /// The scheduler made it itself.
    Rows(Arc<[RecordBatch]>),
    /// There is none.
    Failed(QueryError),
}

/// A query that is known here.
#[derive(Debug)]
pub(crate) struct QueryRecord {
    pub(crate) query: QueryId,
    pub(crate) sql: String,
    pub(crate) schema: SchemaRef,
    /// None for what the scheduler answered itself.
    pub(crate) plan: Option<QueryPlan>,
    pub(crate) accepted: Instant,
    pub(crate) planning: Duration,
    /// How long it may take in all, if there is a limit.
    pub(crate) limit: Option<Duration>,
    pub(crate) ended: Option<Instant>,
    pub(crate) state: QueryState,
    pub(crate) error: Option<QueryError>,
    pub(crate) stages: Vec<StageProgress>,
    pub(crate) operators: Operators,
    inline: HashMap<(TaskId, Attempt), Bytes>,
    result: watch::Sender<ResultState>,
    /// How many readers wait for the result or read it.
    pub(crate) readers: usize,
    /// When the last of them left.
    pub(crate) idle_since: Instant,
    /// Whether one of them came to the end.
    pub(crate) consumed: bool,
}

impl QueryRecord {
    pub(crate) fn new(
        query: QueryId,
        sql: String,
        schema: SchemaRef,
        plan: Option<QueryPlan>,
        accepted: Instant,
        now: Instant,
    ) -> Self {
        QueryRecord {
            query,
            sql,
            schema,
            plan,
            accepted,
            planning: now.saturating_duration_since(accepted),
            limit: None,
            ended: None,
            state: QueryState::Running,
            error: None,
            stages: Vec::new(),
            operators: Operators::default(),
            inline: HashMap::new(),
            result: watch::Sender::new(ResultState::Pending),
            readers: 0,
            idle_since: now,
            consumed: false,
        }
    }

    /// A query that may take so long in all.
    pub(crate) fn limited(mut self, limit: Option<Duration>) -> Self {
        self.limit = limit;
        self
    }

    /// A statement that the scheduler answered itself.
    pub(crate) fn answered(mut self, batches: Vec<RecordBatch>, now: Instant) -> Self {
        self.settle_rows(batches, now);
        self
    }

    pub(crate) fn watch(&self) -> watch::Receiver<ResultState> {
        self.result.subscribe()
    }

    /// Keeps a part that came back with a task's final state.
    pub(crate) fn keep_inline(&mut self, task: TaskId, attempt: Attempt, bytes: Bytes) {
        self.inline.insert((task, attempt), bytes);
    }

    /// Bytes of results that lie here.
    pub(crate) fn held_bytes(&self) -> usize {
        let rows = match &*self.result.borrow() {
            ResultState::Rows(batches) => {
                batches.iter().map(RecordBatch::get_array_memory_size).sum()
            }
            _ => 0,
        };
        rows + self.inline.values().map(Bytes::len).sum::<usize>()
    }

    pub(crate) fn settle_rows(&mut self, batches: Vec<RecordBatch>, now: Instant) {
        self.end(QueryState::Finished, now);
        self.inline.clear();
        self.result.send_replace(ResultState::Rows(batches.into()));
    }

    /// The result is complete, or complete again.
    pub(crate) fn settle_result(&mut self, outputs: &StageOutputs, restart: bool, now: Instant) {
        let Some(plan) = &self.plan else { return };
        let stage = plan.graph.root().id;
        let parts = outputs.locations.iter().map(|location| {
            match self.inline.get(&(location.task, location.attempt)) {
                Some(bytes) => Part::Inline(bytes.clone()),
                None => Part::Remote(location.clone()),
            }
        });
        let parts: Arc<[Part]> = parts.collect();
        let (version, valid_from) = match &*self.result.borrow() {
            ResultState::Ready {
                version,
                valid_from,
                ..
            } => (version + 1, if restart { version + 1 } else { *valid_from }),
            _ => (0, 0),
        };
        self.end(QueryState::Finished, now);
        self.result.send_replace(ResultState::Ready {
            version,
            valid_from,
            stage,
            parts,
        });
    }

    pub(crate) fn settle_failed(&mut self, state: QueryState, mut error: QueryError, now: Instant) {
        if let (ErrorClass::DeadlineExceeded, Some(limit)) = (error.class, self.limit) {
            // The core was told a moment, not the limit that somebody had set.
            error.message = format!(
                "the query did not finish within its limit of {limit:?}; raise the limit or ask \
                 for less"
            );
        }
        self.end(state, now);
        self.inline.clear();
        self.error = Some(error.clone());
        self.result.send_replace(ResultState::Failed(error));
    }

    fn end(&mut self, state: QueryState, now: Instant) {
        self.state = state;
        self.ended.get_or_insert(now);
    }

    pub(crate) fn status(
        &self,
        owner: &SchedulerId,
        live: Option<(QueryState, Vec<StageProgress>)>,
        now: Instant,
    ) -> QueryStatus {
        let (state, stages) = match live {
            // What is made again after the end does not un-end the query.
            Some((state, stages)) if !self.state.is_final() => (state, stages),
            _ => (self.state, self.stages.clone()),
        };
        QueryStatus {
            query: self.query,
            owner: owner.clone(),
            epoch: Epoch::default(),
            state,
            sql: self.sql.clone(),
            stages,
            error: self.error.clone(),
            elapsed: self
                .ended
                .unwrap_or(now)
                .saturating_duration_since(self.accepted),
            planning: self.planning,
        }
    }
}
