//! What operators counted while they ran, in the order in which a plan is printed.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::metrics::MetricValue;

use crate::pausing::beneath_pause;
use crate::restrict::partitions;

/// What a metric's value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricUnit {
    /// Things: rows, batches, files.
    Count,
    /// Bytes.
    Bytes,
    /// Nanoseconds of work, summed over partitions.
    Nanoseconds,
}

/// One metric of one operator, summed over partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorMetric {
    /// DataFusion's name for it.
    pub name: String,
    /// Its value.
    pub value: u64,
    /// What the value counts.
    pub unit: MetricUnit,
}

/// The metrics of every operator of `stage`, depth first, as counted by `task`, the narrowed plan
/// that ran. Operators that the task had no part of counted nothing.
pub fn operator_metrics(
    stage: &Arc<dyn ExecutionPlan>,
    task: &Arc<dyn ExecutionPlan>,
) -> Vec<Vec<OperatorMetric>> {
    let mut all = Vec::new();
    collect(stage, Some(task), &mut all);
    all
}

fn collect(
    stage: &Arc<dyn ExecutionPlan>,
    task: Option<&Arc<dyn ExecutionPlan>>,
    all: &mut Vec<Vec<OperatorMetric>>,
) {
    // A branch without a partition for the task was replaced by a leaf.
    let task = task.map(|task| beneath_pause(stage, task));
    let task = task.filter(|task| !(task.is::<EmptyExec>() && partitions(task) == 0));
    all.push(task.map(own_metrics).unwrap_or_default());
    let children = task.map(|task| task.children()).unwrap_or_default();
    for (index, child) in stage.children().into_iter().enumerate() {
        collect(child, children.get(index).copied(), all);
    }
}

fn own_metrics(plan: &Arc<dyn ExecutionPlan>) -> Vec<OperatorMetric> {
    let Some(metrics) = plan.metrics() else {
        return Vec::new();
    };
    metrics
        .aggregate_by_name()
        .sorted_for_display()
        .timestamps_removed()
        .iter()
        .filter_map(|metric| {
            let value = metric.value();
            let unit = match value {
                MetricValue::ElapsedCompute(_) | MetricValue::Time { .. } => {
                    MetricUnit::Nanoseconds
                }
                MetricValue::SpilledBytes(_)
                | MetricValue::OutputBytes(_)
                | MetricValue::CurrentMemoryUsage(_) => MetricUnit::Bytes,
                MetricValue::OutputRows(_)
                | MetricValue::OutputBatches(_)
                | MetricValue::SpillCount(_)
                | MetricValue::SpilledRows(_)
                | MetricValue::Count { .. }
                | MetricValue::Gauge { .. } => MetricUnit::Count,
                // Shares and distributions cannot be added up over tasks.
                _ => return None,
            };
            Some(OperatorMetric {
                name: value.name().to_string(),
                value: value.as_usize() as u64,
                unit,
            })
        })
        .collect()
}
