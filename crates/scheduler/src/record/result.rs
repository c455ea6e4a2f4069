//! What a query has come to: its result, that there is none, or that another scheduler knows.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use bytes::Bytes;
use paceline_core::{AttemptRef, StageOutputs};
use paceline_model::{
    Attempt, ErrorClass, OutputLocation, QueryError, QueryState, StageId, TaskId,
};

use super::QueryRecord;

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
    /// Another scheduler has taken the query over: it is asked.
    Moved,
}

impl QueryRecord {
    /// What the tasks of a write have come to instead of a list of files.
    pub(crate) fn settle_tasks_failed(&mut self, error: QueryError) {
        self.manifest.send_replace(ResultState::Failed(error));
    }

    /// Keeps a part that came back with a task's final state.
    pub(crate) fn keep_inline(&mut self, task: TaskId, attempt: Attempt, bytes: Bytes) {
        self.inline.insert((task, attempt), bytes);
    }

    /// Keeps parts of the result that executors had kept for an owner to come. False if they are of no use:
    /// what it is asked for is how it ran, and that they do not tell.
    pub(crate) fn take_results(&mut self, results: Vec<(AttemptRef, Bytes)>) -> bool {
        let Some(plan) = self.plan.as_ref().filter(|plan| !plan.analyze) else {
            return false;
        };
        let root = plan.graph.root().id;
        for (of, bytes) in results {
            if of.stage == root {
                self.inline.insert((of.task, of.attempt), bytes);
            }
        }
        true
    }

    /// Whether the whole result lies here, so that nothing is needed of executors any more.
    pub(crate) fn is_all_here(&self) -> bool {
        match &*self.result.borrow() {
            ResultState::Ready { parts, .. } => {
                let mut parts = parts.iter();
                parts.all(|part| matches!(part, Part::Inline(_)))
            }
            _ => false,
        }
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
        let tasks = match self.write {
            Some(_) => &self.manifest,
            None => &self.result,
        };
        let (version, valid_from) = match &*tasks.borrow() {
            ResultState::Ready {
                version,
                valid_from,
                ..
            } => (version + 1, if restart { version + 1 } else { *valid_from }),
            _ => (0, 0),
        };
        tasks.send_replace(ResultState::Ready {
            version,
            valid_from,
            stage,
            parts,
        });
        if self.write.is_none() {
            self.end(QueryState::Finished, now);
        }
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

    /// Another scheduler drives the query from now on, or will: whoever waits here is sent there.
    /// What was complete stays readable for those who read it.
    pub(crate) fn move_away(&mut self) {
        self.has_left = !self.is_over;
        for awaited in [&self.result, &self.manifest] {
            if matches!(*awaited.borrow(), ResultState::Pending) {
                awaited.send_replace(ResultState::Moved);
            }
        }
        self.tell_of_end();
    }

    /// Whether another scheduler is to be asked about the query.
    pub(crate) fn is_moved(&self) -> bool {
        // Of one that runs by itself, its owner alone says how it ended.
        let elsewhere = self.has_left && self.kept.is_some();
        elsewhere || matches!(*self.result.borrow(), ResultState::Moved)
    }

    /// Whether another scheduler owns it since, or will.
    pub(crate) fn has_left(&self) -> bool {
        self.has_left
    }

    fn end(&mut self, state: QueryState, now: Instant) {
        self.state = state;
        self.ended.get_or_insert(now);
        self.tell_of_end();
    }
}
