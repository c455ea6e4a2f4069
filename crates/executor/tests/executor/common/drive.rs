//! Launches, and a small driver that runs a graph to its end.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use paceline_model::{
    Attempt, ExchangeKind, ExecutorId, OutputId, OutputLocation, PartitionRange, QueryId, Stage,
    StageGraph, StageId, TaskId,
};
use paceline_proto::cluster::from_scheduler::Message as Told;
use paceline_proto::cluster::task_state::State;
use paceline_proto::{OutputTable, cluster, query_bytes};

use super::Attached;

/// A launch in the making.
pub(crate) struct Launching {
    query: QueryId,
    launch: cluster::Launch,
}

impl Launching {
    /// A launch of a stage, with its plan.
    pub(crate) fn new(query: QueryId, epoch: u64, stage: &Stage) -> Self {
        Launching {
            query,
            launch: cluster::Launch {
                query: query_bytes(query),
                epoch,
                stage: stage.id.0,
                plan: Some(Bytes::copy_from_slice(&stage.plan)),
                ..cluster::Launch::default()
            },
        }
    }

    pub(crate) fn without_plan(mut self) -> Self {
        self.launch.plan = None;
        self
    }

    pub(crate) fn inline(mut self, bytes: u64) -> Self {
        self.launch.inline_limit_bytes = bytes;
        self
    }

    pub(crate) fn inputs(mut self, outputs: &HashMap<StageId, Vec<OutputLocation>>) -> Self {
        let mut table = OutputTable::default();
        for (stage, outputs) in outputs {
            table.add(*stage, outputs);
        }
        self.launch.inputs = table.stages;
        self.launch.executors = table.executors;
        self
    }

    pub(crate) fn raw(self) -> cluster::Launch {
        self.launch
    }

    /// Sends it off for one task; says which attempt that is.
    pub(crate) async fn send(
        mut self,
        to: &Attached,
        task: u32,
        attempt: u32,
        range: PartitionRange,
        slots: u32,
    ) -> OutputId {
        self.launch.tasks.push(cluster::TaskLaunch {
            task,
            attempt,
            first_partition: range.first,
            partitions: range.count,
            slots,
        });
        let id = OutputId {
            query: self.query,
            stage: StageId(self.launch.stage),
            task: TaskId(task),
            attempt: Attempt(attempt),
        };
        to.tell(Told::Launch(self.launch)).await;
        id
    }
}

/// Launches the last stage of a query as one task with one slot. What it finds comes back with its end.
pub(crate) async fn launch_root(
    to: &Attached,
    graph: &StageGraph,
    query: QueryId,
    (epoch, task): (u64, u32),
) -> OutputId {
    let stage = graph.root();
    let all = PartitionRange::new(0, stage.partitions);
    let launch = Launching::new(query, epoch, stage).inline(1 << 20);
    launch.send(to, task, 0, all, 1).await
}

/// Runs every stage over all executors, one task on each if the stage can be divided. The answer
/// comes back inline. Says as well where the outputs of each stage lie.
pub(crate) async fn run_graph(
    graph: &StageGraph,
    query: QueryId,
    epoch: u64,
    executors: &mut [Attached],
) -> (Vec<RecordBatch>, HashMap<StageId, Vec<OutputLocation>>) {
    let mut outputs = HashMap::new();
    let mut answer = Vec::new();
    for stage in graph.stages() {
        let root = stage.id == graph.root().id;
        let ranges = divide(stage, executors.len());
        let mut launched = Vec::new();
        for (task, (range, executor)) in ranges.iter().zip(executors.iter()).enumerate() {
            let mut launch = Launching::new(query, epoch, stage).inputs(&outputs);
            if root {
                launch = launch.inline(1 << 20);
            }
            launched.push(launch.send(executor, task as u32, 0, *range, 1).await);
        }
        let mut locations = Vec::new();
        for ((id, range), executor) in launched.iter().zip(&ranges).zip(executors.iter_mut()) {
            let finished = match executor.ended(*id).await {
                State::Finished(finished) => finished,
                other => panic!("{id}: {other:?}"),
            };
            assert_eq!(finished.inline_result.is_some(), root);
            let told = finished.output.expect("an output").partition_bytes;
            match stage.exchange {
                ExchangeKind::Hash { .. } => assert!(told.is_empty(), "one for each reader"),
                ExchangeKind::Forward => assert_eq!(told.len(), range.count as usize),
            }
            if let Some(bytes) = &finished.inline_result {
                answer.extend(decode(bytes));
            }
            locations.push(OutputLocation {
                task: id.task,
                attempt: id.attempt,
                partitions: match stage.exchange {
                    ExchangeKind::Hash { partitions } => PartitionRange::new(0, partitions),
                    ExchangeKind::Forward => *range,
                },
                executor: ExecutorId::new(executor.hello.executor.as_str()),
                address: executor.hello.address.clone(),
            });
        }
        outputs.insert(stage.id, locations);
    }
    (answer, outputs)
}

fn divide(stage: &Stage, executors: usize) -> Vec<PartitionRange> {
    let executors = u32::try_from(executors).unwrap();
    if !stage.divisible || stage.partitions < executors {
        return vec![PartitionRange::new(0, stage.partitions)];
    }
    let each = stage.partitions.div_ceil(executors);
    let firsts = (0..stage.partitions).step_by(each as usize);
    let range = |first| PartitionRange::new(first, each.min(stage.partitions - first));
    firsts.map(range).collect()
}

/// The rows of an inline result.
pub(crate) fn decode(bytes: &Bytes) -> Vec<RecordBatch> {
    StreamReader::try_new(bytes.as_ref(), None)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Reads nothing and ends only when it is stopped.
pub(crate) const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 1000000000000) AS g(n) WHERE n % 7 = -1";

/// Over at once.
pub(crate) const QUICK: &str = "SELECT count(*) FROM t WHERE v >= 0";

/// More than an attempt may buffer in memory.
pub(crate) const LARGE: &str = "SELECT k, repeat(s, 50) AS text FROM t";
