//! From a stage that has its inputs to tasks on executors.

use std::collections::BTreeMap;
use std::sync::Arc;

use paceline_model::{ExchangeKind, ExecutorId, PartitionRange, Stage, StageId, TaskId};

use super::stage::StageRun;
use super::stages::inputs_of;
use super::task::{RunningAttempt, TaskAt, TaskState, first_attempt};
use super::{Query, Stages};
use crate::action::{Action, TaskLaunch};
use crate::options::Options;
use crate::placement::{Placement, Wish, place};
use crate::shared::Shared;

/// What came of an attempt to launch one task of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Launched {
    /// One task was launched.
    One,
    /// Nothing can be, for reasons of this query's own.
    Nothing,
    /// Nothing can be, for want of room.
    NoRoom,
}

impl Query {
    /// Launches the query's next task.
    pub(crate) fn launch_next(&mut self, shared: &mut Shared) -> Launched {
        // Almost always the first task of the first stage; a copy of the list would cost more.
        let mut after: Option<super::StageRank> = None;
        while let Some(rank) = self.next_open(after) {
            after = Some(rank);
            let (_, stage) = rank;
            if !self.stages[stage].is_formed() {
                self.form(stage, shared);
            }
            let mut task = self.stages[stage].ready.first().copied();
            while let Some(id) = task {
                match self.place(stage, id, shared) {
                    Placement::On(executor, slots) => {
                        self.launch(TaskAt { stage, task: id }, executor, slots, shared);
                        return Launched::One;
                    }
                    Placement::NoRoom => return Launched::NoRoom,
                    Placement::OnlyAvoided => {}
                }
                task = self.stages[stage].ready.range(id.next()..).next().copied();
            }
        }
        Launched::Nothing
    }

    fn next_open(&self, after: Option<super::StageRank>) -> Option<super::StageRank> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.open.range((from, Unbounded)).next().copied()
    }

    /// Divides a stage into tasks. They stay the same for the rest of the query's life.
    fn form(&mut self, id: StageId, shared: &mut Shared) {
        let Some(spec) = self.graph.stage(id) else {
            return;
        };
        let tasks = task_count(spec, shared.executors.accepting(), &shared.options);
        let tasks: Vec<_> = ranges(spec.partitions, tasks).collect();
        self.tasks += tasks.len() as u32;
        // A former owner may have divided it otherwise, and nothing tells how: what is left of that is not
        // of these tasks.
        let first = first_attempt(self.epoch);
        self.stages[id].form(tasks.iter().copied(), first, first);
        shared.out.tell(Action::StageFormed {
            query: self.id,
            stage: id,
            tasks,
            floor: first,
        });
    }

    fn place(&self, stage: StageId, task: TaskId, shared: &Shared) -> Placement {
        let Some(record) = self.stages[stage].task(task) else {
            return Placement::NoRoom;
        };
        let wish = Wish {
            partitions: record.partitions.count,
            avoid: record.avoid.as_ref(),
            bytes: self.nearby_bytes(stage, record.partitions),
        };
        place(&shared.executors, shared.options.queue_depth, &wish)
    }

    /// Bytes that the task of these partitions would find on each executor, where that differs
    /// from what its siblings would find. A hash exchange and one that is read whole lie everywhere
    /// alike for all tasks, so they count only for a task that has no siblings.
    fn nearby_bytes(&self, id: StageId, partitions: PartitionRange) -> BTreeMap<ExecutorId, u64> {
        let alone = self.stages[id].tasks.len() == 1;
        let mut bytes = BTreeMap::new();
        for input in inputs_of(&self.graph, id) {
            let producer = &self.stages[input.stage];
            let exchange = self.graph.stage(input.stage).map(|stage| stage.exchange);
            let ranged = !input.whole && exchange == Some(ExchangeKind::Forward);
            if alone {
                add_bytes(producer, 0, u32::MAX, &mut bytes);
            } else if ranged {
                add_bytes(producer, partitions.first, partitions.end(), &mut bytes);
            }
        }
        bytes
    }

    fn launch(&mut self, at: TaskAt, executor: ExecutorId, slots: u32, shared: &mut Shared) {
        let stage = &mut self.stages[at.stage];
        stage.attempts += 1;
        let Some(task) = stage.task_mut(at.task) else {
            return;
        };
        let attempt = task.next;
        task.next = attempt.next();
        let launch = TaskLaunch {
            task: at.task,
            attempt,
            partitions: task.partitions,
            slots,
        };
        let run = RunningAttempt {
            executor: executor.clone(),
            attempt,
            slots,
        };
        shared.counters.attempts_launched += 1;
        self.involve(&executor, shared);
        self.put(at, TaskState::Running(run), shared);
        let (graph, stages, executors) =
            (Arc::clone(&self.graph), &mut self.stages, &shared.executors);
        let inputs = || locate_inputs(&graph, at.stage, stages, executors);
        shared
            .out
            .launch(&executor, self.id, self.epoch, at.stage, launch, inputs);
    }
}

fn locate_inputs(
    graph: &paceline_model::StageGraph,
    stage: StageId,
    stages: &mut Stages,
    executors: &crate::executors::Executors,
) -> Vec<(StageId, Arc<[paceline_model::OutputLocation]>)> {
    inputs_of(graph, stage)
        .iter()
        .filter_map(|input| {
            let spec = graph.stage(input.stage)?;
            let locations = stages[input.stage].locations(spec, executors);
            Some((input.stage, locations))
        })
        .collect()
}

/// Adds up, by executor, the bytes of partitions `first..end` of a Forward exchange, or all bytes of
/// any exchange if `end` lies beyond all of them.
fn add_bytes(producer: &StageRun, first: u32, end: u32, bytes: &mut BTreeMap<ExecutorId, u64>) {
    // Tasks are in order of partitions, so those of the range are found without looking at all.
    let from = producer
        .tasks
        .partition_point(|task| task.partitions.end() <= first);
    for task in &producer.tasks[from..] {
        if task.partitions.first >= end {
            break;
        }
        let TaskState::Finished(output) = &task.state else {
            continue;
        };
        let share = if end == u32::MAX {
            output.summary.bytes
        } else {
            let skip = first.saturating_sub(task.partitions.first) as usize;
            let upto = end.min(task.partitions.end()) - first.max(task.partitions.first);
            let parts = output.summary.partition_bytes.iter();
            parts.skip(skip).take(upto as usize).sum()
        };
        if share > 0 {
            *bytes.entry(output.executor.clone()).or_default() += share;
        }
    }
}

/// How many tasks a stage gets.
fn task_count(stage: &Stage, executors: u32, options: &Options) -> u32 {
    if !stage.divisible {
        return 1;
    }
    let by_bytes = stage
        .scan_bytes
        .div_ceil(options.scan_bytes_per_task.max(1));
    let by_bytes = u32::try_from(by_bytes).unwrap_or(u32::MAX);
    executors.max(by_bytes).clamp(1, stage.partitions.max(1))
}

/// Divides `partitions` into so many ranges whose sizes differ by one at most.
fn ranges(partitions: u32, tasks: u32) -> impl Iterator<Item = PartitionRange> {
    let (each, larger) = (partitions / tasks, partitions % tasks);
    (0..tasks).map(move |task| {
        let first = task * each + task.min(larger);
        PartitionRange::new(first, each + u32::from(task < larger))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(partitions: u32, divisible: bool, scan_bytes: u64) -> Stage {
        Stage {
            id: StageId(0),
            plan: Arc::from(&b""[..]),
            partitions,
            divisible,
            exchange: ExchangeKind::Forward,
            inputs: Vec::new(),
            deterministic: true,
            scan_bytes,
            text: Arc::from(""),
        }
    }

    #[test]
    fn a_stage_has_about_as_many_tasks_as_there_are_executors() {
        let count = |spec, executors| task_count(&spec, executors, &Options::default());
        assert_eq!(count(spec(12, true, 0), 3), 3);
        assert_eq!(count(spec(2, true, 0), 3), 2);
        assert_eq!(count(spec(12, false, 0), 3), 1);
        assert_eq!(count(spec(12, true, 5 * (256 << 20)), 3), 5);
        assert_eq!(count(spec(12, true, u64::MAX), 3), 12);
    }

    #[test]
    fn ranges_take_every_partition_once_and_differ_by_one_at_most() {
        for (partitions, tasks) in [(1, 1), (7, 3), (12, 4), (2000, 7), (5, 5)] {
            let ranges: Vec<_> = ranges(partitions, tasks).collect();
            assert_eq!(ranges.len() as u32, tasks);
            let all: Vec<u32> = ranges.iter().flat_map(|range| range.iter()).collect();
            assert_eq!(all, (0..partitions).collect::<Vec<_>>());
            let sizes = ranges.iter().map(|range| range.count);
            assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }
}
