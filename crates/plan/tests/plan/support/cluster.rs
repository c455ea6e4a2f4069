//! Runs a stage graph, task by task.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::config::ConfigOptions;
use datafusion::execution::TaskContext;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::metrics::Time;
use datafusion::physical_plan::repartition::BatchPartitioner;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::TryStreamExt;
use paceline_model::{
    Attempt, ErrorClass, OutputId, PartitionRange, QueryError, QueryId, Stage, StageGraph, StageId,
    StageProgress, TaskId,
};
use paceline_plan::{
    Engine, ExchangeWriteExec, OperatorMetric, QueryPlan, SessionSettings, Sink, StagePlan, Which,
    classify, operator_metrics,
};
use tokio::task::JoinSet;

use super::exchanges::{Exchanges, Inputs, TaskOutput};

/// Far longer than any query here needs; a query that takes longer waits for something that will
/// never come.
const DEADLINE: Duration = Duration::from_secs(120);

/// Executors that take `tasks` tasks of each stage that can be divided.
pub(crate) struct Cluster {
    pub(crate) engine: Engine,
    pub(crate) tasks: u32,
}

/// How a graph ran.
pub(crate) struct Ran {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) progress: Vec<StageProgress>,
    /// For each stage, its operators depth first.
    pub(crate) metrics: Vec<Vec<Vec<OperatorMetric>>>,
}

impl Ran {
    /// Rows that a stage left.
    pub(crate) fn rows(&self, stage: usize) -> u64 {
        self.progress[stage].rows
    }
}

struct TaskRan {
    output: TaskOutput,
    metrics: Vec<Vec<OperatorMetric>>,
}

impl Cluster {
    pub(crate) async fn run(&self, query: &QueryPlan) -> Result<Ran, QueryError> {
        let run = self.stages(&query.graph, &query.settings);
        match tokio::time::timeout(DEADLINE, run).await {
            Ok(ran) => ran,
            Err(_) => panic!("hangs:\n{}", describe(&query.graph)),
        }
    }

    async fn stages(
        &self,
        graph: &StageGraph,
        settings: &SessionSettings,
    ) -> Result<Ran, QueryError> {
        let exchanges = Arc::new(Exchanges::default());
        let (mut progress, mut metrics) = (Vec::new(), Vec::new());
        for stage in graph.stages() {
            let (done, operators) = self.stage(stage, settings, &exchanges).await?;
            progress.push(done);
            metrics.push(operators);
        }
        let batches = exchanges
            .rows(graph.root().id, Which::Whole)
            .expect("the root has run");
        Ok(Ran {
            batches,
            progress,
            metrics,
        })
    }

    async fn stage(
        &self,
        stage: &Stage,
        settings: &SessionSettings,
        exchanges: &Arc<Exchanges>,
    ) -> Result<(StageProgress, Vec<Vec<OperatorMetric>>), QueryError> {
        let ranges = self.ranges(stage);
        let (mut outputs, mut operators) = (Vec::new(), Vec::<Vec<OperatorMetric>>::new());
        for range in &ranges {
            let task = OutputId {
                query: QueryId::from_slice(&[7; 16]).expect("sixteen bytes"),
                stage: stage.id,
                task: TaskId(range.first),
                attempt: Attempt(self.tasks),
            }
            .to_string();
            let inputs = Inputs {
                exchanges: Arc::clone(exchanges),
                stages: stage.inputs.iter().map(|input| input.stage).collect(),
            };
            let context = self.engine.task_context(settings, Arc::new(inputs), task)?;
            let ran = run_task(stage, *range, &context).await?;
            outputs.push(ran.output);
            add(&mut operators, ran.metrics);
        }
        let batches = outputs.iter().flat_map(|task| task.values().flatten());
        let rows = batches.map(|batch| batch.num_rows() as u64).sum();
        let progress = StageProgress {
            stage: stage.id,
            tasks: ranges.len() as u32,
            attempts: ranges.len() as u32,
            rows,
            ..StageProgress::default()
        };
        exchanges.add(stage.id, outputs);
        Ok((progress, operators))
    }

    /// Contiguous ranges, as even as can be.
    fn ranges(&self, stage: &Stage) -> Vec<PartitionRange> {
        let tasks = if stage.divisible {
            self.tasks.clamp(1, stage.partitions)
        } else {
            1
        };
        let bound = |task: u32| task * stage.partitions / tasks;
        (0..tasks)
            .map(|task| PartitionRange::new(bound(task), bound(task + 1) - bound(task)))
            .collect()
    }
}

async fn run_task(
    stage: &Stage,
    range: PartitionRange,
    context: &Arc<TaskContext>,
) -> Result<TaskRan, QueryError> {
    let plan = StagePlan::decode(&stage.plan, context)?;
    survived(stage, &plan)?;
    let options = context.session_config().options();
    sane(&plan.input, options)?;
    let task = plan.for_range(range, options)?;
    sane(&task, options)?;
    let partitions = task.output_partitioning().partition_count();
    assert_eq!(partitions, range.count as usize, "{}", stage.text);
    reads_as_announced(stage, range, &task);
    let mut running = JoinSet::new();
    for partition in 0..range.count {
        let (task, context, sink) = (Arc::clone(&task), Arc::clone(context), plan.sink.clone());
        running.spawn(async move {
            let rows = task.execute(partition as usize, context)?;
            let batches: Vec<RecordBatch> = rows.try_collect().await?;
            divide(batches, &sink, range.first + partition)
        });
    }
    let mut parts = Vec::new();
    while let Some(part) = running.join_next().await {
        let part = part.expect("no task panics").map_err(|e| classify(&e))?;
        parts.push(part);
    }
    let mut output = TaskOutput::new();
    for (partition, batches) in parts.into_iter().flatten() {
        output.entry(partition).or_default().extend(batches);
    }
    Ok(TaskRan {
        output,
        metrics: operator_metrics(&plan.input, &task),
    })
}

/// Puts rows into the partitions of the exchange.
fn divide(
    batches: Vec<RecordBatch>,
    sink: &Sink,
    own: u32,
) -> datafusion::common::Result<TaskOutput> {
    let Sink::Hash { exprs, partitions } = sink else {
        return Ok(BTreeMap::from([(own, batches)]));
    };
    let mut divider =
        BatchPartitioner::new_hash_partitioner(exprs.clone(), *partitions as usize, Time::new())?;
    let mut output = TaskOutput::new();
    for batch in batches {
        divider.partition(batch, |partition, rows| {
            output.entry(partition as u32).or_default().push(rows);
            Ok(())
        })?;
    }
    Ok(output)
}

/// What was decoded prints as what was encoded.
fn survived(stage: &Stage, plan: &StagePlan) -> Result<(), QueryError> {
    let root = ExchangeWriteExec::new(Arc::clone(&plan.input), plan.sink.clone());
    let decoded = DisplayableExecutionPlan::new(&root)
        .indent(false)
        .to_string();
    let partitions = plan.input.output_partitioning().partition_count();
    if in_any_order(&stage.text) == in_any_order(&decoded)
        && partitions == stage.partitions as usize
    {
        return Ok(());
    }
    let both = stage.text.lines().zip(decoded.lines());
    let (encoded, decoded) = both.clone().find(|(e, d)| e != d).unwrap_or_default();
    Err(QueryError::new(
        ErrorClass::Bug,
        format!(
            "stage {} was changed by its encoding, from {} partitions to {partitions}:\n{encoded}\n{decoded}",
            stage.id, stage.partitions
        ),
    ))
}

/// A plan without the order of the files that a scan had better read backwards: that is a help to the sort
/// above it, which is there all the same.
fn in_any_order(plan: &str) -> String {
    let lines = plan.lines().map(|line| {
        let (files, rest) = line.split_once(", projection=").unwrap_or((line, ""));
        if !rest.contains("reverse_row_groups=true") {
            return line.to_string();
        }
        let mut files: Vec<&str> = files.split([',', '[', ']', '{', '}', ' ']).collect();
        files.sort_unstable();
        format!("{} {rest}", files.join(" "))
    });
    lines.collect::<Vec<String>>().join("\n")
}

/// Every operator finds the order and the distribution that it asks for.
fn sane(plan: &Arc<dyn ExecutionPlan>, options: &ConfigOptions) -> Result<(), QueryError> {
    let checked = SanityCheckPlan::new().optimize(Arc::clone(plan), options);
    checked.map(drop).map_err(|error| classify(&error))
}

/// A task reads the exchanges that the graph says, and of those read in parts only its own part.
fn reads_as_announced(stage: &Stage, range: PartitionRange, task: &Arc<dyn ExecutionPlan>) {
    let needs = StagePlan::exchange_needs(task);
    for need in &needs {
        let input = stage.inputs.iter().find(|input| input.stage == need.stage);
        let input = input.unwrap_or_else(|| panic!("{need:?} is no input of\n{}", stage.text));
        if !input.whole {
            let own = need.range.expect("an input read in parts");
            assert!(own.count <= range.count, "{need:?} of {range:?}");
        }
    }
    if range.count == stage.partitions {
        let mut read: Vec<StageId> = needs.iter().map(|need| need.stage).collect();
        let mut announced: Vec<StageId> = stage.inputs.iter().map(|i| i.stage).collect();
        read.sort();
        announced.sort();
        assert_eq!(read, announced);
    }
}

/// Sums the metrics of another task up.
fn add(sum: &mut Vec<Vec<OperatorMetric>>, task: Vec<Vec<OperatorMetric>>) {
    if sum.is_empty() {
        *sum = task;
        return;
    }
    assert_eq!(
        sum.len(),
        task.len(),
        "tasks of one stage have other operators"
    );
    for (all, own) in sum.iter_mut().zip(task) {
        for metric in own {
            match all.iter_mut().find(|known| known.name == metric.name) {
                Some(known) => known.value += metric.value,
                None => all.push(metric),
            }
        }
    }
}

pub(crate) fn describe(graph: &StageGraph) -> String {
    let stages = graph.stages().iter().rev();
    stages
        .map(|s| format!("stage {} ({} partitions)\n{}", s.id, s.partitions, s.text))
        .collect::<Vec<_>>()
        .join("\n")
}
