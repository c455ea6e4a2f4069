//! One stage: its tasks and the numbers that say whether it can run and whether it is complete.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use paceline_model::{
    Attempt, ExchangeKind, OutputLocation, PartitionRange, Stage, StageId, StageProgress, TaskId,
};

use super::task::{Task, TaskState};
use crate::action::StageOutputs;
use crate::executors::Executors;

/// The order in which a query's stages get their turn: those farthest from the result first, since
/// the longest path decides when the query ends.
pub(crate) type StageRank = (Reverse<u32>, StageId);

#[derive(Debug)]
pub(crate) struct StageRun {
    pub(crate) id: StageId,
    /// The stage that reads this one; none for the root.
    pub(crate) consumer: Option<StageId>,
    /// How many exchanges lie between this stage and the result.
    pub(crate) depth: u32,
    /// Whether somebody needs the outputs: the reader is wanted and not complete, or this is the root.
    pub(crate) wanted: bool,
    /// Inputs that cannot be read in full at present.
    pub(crate) missing_inputs: u32,
    /// In order of partitions; empty until they are formed.
    pub(crate) tasks: Vec<Task>,
    /// Tasks in the state `Ready`.
    pub(crate) ready: BTreeSet<TaskId>,
    pub(crate) running: u32,
    pub(crate) done: u32,
    /// Attempts launched so far.
    pub(crate) attempts: u32,
    /// Rows and bytes of the last complete output.
    rows: u64,
    bytes: u64,
    locations: Option<Arc<[OutputLocation]>>,
}

impl StageRun {
    pub(super) fn new(stage: &Stage) -> Self {
        StageRun {
            id: stage.id,
            consumer: None,
            depth: 0,
            wanted: true,
            missing_inputs: stage.inputs.len() as u32,
            tasks: Vec::new(),
            ready: BTreeSet::new(),
            running: 0,
            done: 0,
            attempts: 0,
            rows: 0,
            bytes: 0,
            locations: None,
        }
    }

    pub(crate) fn is_formed(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Whether every task's output can be read.
    pub(crate) fn is_available(&self) -> bool {
        self.is_formed() && self.done as usize == self.tasks.len()
    }

    /// Whether it has tasks to launch now, or would have once they are formed.
    pub(crate) fn is_open(&self) -> bool {
        self.wanted && self.missing_inputs == 0 && (!self.is_formed() || !self.ready.is_empty())
    }

    pub(crate) fn rank(&self) -> StageRank {
        (Reverse(self.depth), self.id)
    }

    pub(crate) fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(id.0 as usize)
    }

    pub(crate) fn task_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.tasks.get_mut(id.0 as usize)
    }

    pub(crate) fn task_ids(&self) -> impl Iterator<Item = TaskId> + use<> {
        (0..self.tasks.len() as u32).map(TaskId)
    }

    /// Divides the stage into tasks of these ranges. The first attempt at each is `next`; attempts
    /// below `floor` are never taken back.
    pub(crate) fn form(
        &mut self,
        ranges: impl IntoIterator<Item = PartitionRange>,
        next: Attempt,
        floor: Attempt,
    ) {
        self.tasks = ranges
            .into_iter()
            .map(|range| Task::new(range, next, floor))
            .collect();
        if self.wanted {
            for task in self.task_ids() {
                self.put(task, TaskState::Ready);
            }
        }
    }

    /// Gives a task another state and returns the former one. The only way in which states change.
    pub(crate) fn put(&mut self, id: TaskId, state: TaskState) -> TaskState {
        let Some(task) = self.tasks.get_mut(id.0 as usize) else {
            return TaskState::Idle;
        };
        let old = std::mem::replace(&mut task.state, state);
        match &old {
            TaskState::Ready => {
                self.ready.remove(&id);
            }
            TaskState::Running(_) => self.running -= 1,
            TaskState::Finished(_) => {
                self.done -= 1;
                self.locations = None;
            }
            TaskState::Idle | TaskState::Backoff { .. } => {}
        }
        match &task.state {
            TaskState::Ready => {
                self.ready.insert(id);
            }
            TaskState::Running(_) => self.running += 1,
            TaskState::Finished(_) => {
                self.done += 1;
                self.locations = None;
            }
            TaskState::Idle | TaskState::Backoff { .. } => {}
        }
        old
    }

    /// Where the outputs of all finished tasks lie. Built once and shared by all launches.
    pub(crate) fn locations(
        &mut self,
        spec: &Stage,
        executors: &Executors,
    ) -> Arc<[OutputLocation]> {
        if let Some(locations) = &self.locations {
            return Arc::clone(locations);
        }
        let locations: Arc<[OutputLocation]> = self
            .task_ids()
            .filter_map(|id| self.location(id, spec, executors))
            .collect();
        self.locations = Some(Arc::clone(&locations));
        locations
    }

    fn location(&self, id: TaskId, spec: &Stage, executors: &Executors) -> Option<OutputLocation> {
        let task = self.task(id)?;
        let TaskState::Finished(output) = &task.state else {
            return None;
        };
        let partitions = match spec.exchange {
            ExchangeKind::Hash { partitions } => PartitionRange::new(0, partitions),
            ExchangeKind::Forward => task.partitions,
        };
        // An inline result may outlive its executor; nobody dials for it.
        let address = executors.get(&output.executor).map(|e| e.address.clone());
        Some(OutputLocation {
            task: id,
            attempt: output.attempt,
            partitions,
            executor: output.executor.clone(),
            address: address.unwrap_or_default(),
        })
    }

    /// An executor's address changed.
    pub(crate) fn forget_locations(&mut self) {
        self.locations = None;
    }

    /// The outputs of a stage that is available.
    pub(crate) fn outputs(&mut self, spec: &Stage, executors: &Executors) -> StageOutputs {
        let summaries: Vec<_> = self
            .tasks
            .iter()
            .filter_map(|task| match &task.state {
                TaskState::Finished(output) => Some(Arc::clone(&output.summary)),
                _ => None,
            })
            .collect();
        (self.rows, self.bytes) = totals(summaries.iter().map(AsRef::as_ref));
        StageOutputs {
            locations: self.locations(spec, executors),
            summaries,
        }
    }

    pub(crate) fn progress(&self) -> StageProgress {
        let tasks = self.tasks.len() as u32;
        let finished = self.tasks.iter().filter_map(|task| match &task.state {
            TaskState::Finished(output) => Some(output.summary.as_ref()),
            _ => None,
        });
        let (done, (rows, bytes)) = if self.wanted {
            (self.done, totals(finished))
        } else {
            (tasks, (self.rows, self.bytes))
        };
        StageProgress {
            stage: self.id,
            tasks,
            running: self.running,
            done,
            attempts: self.attempts,
            rows,
            bytes,
        }
    }
}

fn totals<'a>(outputs: impl Iterator<Item = &'a paceline_model::OutputSummary>) -> (u64, u64) {
    outputs.fold((0, 0), |(rows, bytes), output| {
        (
            rows.saturating_add(output.rows),
            bytes.saturating_add(output.bytes),
        )
    })
}
