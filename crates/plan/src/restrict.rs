//! One task's share of a stage's plan.
//!
//! A task runs a plan of its own: the stage's, with every leaf narrowed to the task's partitions.
//! All partitions of the narrowed plan run, so that operators which share state among partitions
//! (filters built by a join, queues of files shared by scans) find all those they wait for.
//!
//! Leaves below something that gathers (a join's collected build side, a merge) stay whole: each
//! task needs all of their rows.

use std::any::Any;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::physical_expr::Distribution;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode,
};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::work_table::WorkTableExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};
use paceline_model::PartitionRange;

use crate::exchange_read::ExchangeReadExec;
use crate::joins;
use crate::write_files::WriteFilesExec;

/// Whether the plan can be narrowed, or why not.
#[derive(Debug)]
pub(crate) enum Narrowed {
    /// The narrowed plan.
    Plan(Arc<dyn ExecutionPlan>),
    /// An operator needs all its partitions in one process; its name.
    Indivisible(String),
}

/// How many partitions a plan has.
pub(crate) fn partitions(plan: &Arc<dyn ExecutionPlan>) -> u32 {
    u32::try_from(plan.output_partitioning().partition_count()).unwrap_or(u32::MAX)
}

/// Narrows `plan` to some of its partitions.
pub(crate) fn restrict(plan: &Arc<dyn ExecutionPlan>, range: PartitionRange) -> Result<Narrowed> {
    if range.first == 0 && range.count == partitions(plan) {
        return Ok(Narrowed::Plan(Arc::clone(plan)));
    }
    if range.count == 0 {
        return Ok(nothing(plan));
    }
    if shares_state(plan) {
        return Ok(Narrowed::Indivisible(plan.name().to_string()));
    }
    if plan.is::<UnionExec>() {
        return union(plan, range);
    }
    if plan.children().is_empty() {
        return leaf(plan, range);
    }
    let mut children = Vec::new();
    for (child, collected) in plan.children().into_iter().zip(collected_inputs(plan)) {
        if collected {
            children.push(Arc::clone(child));
        } else if partitions(child) == partitions(plan) {
            match restrict(child, range)? {
                Narrowed::Plan(child) => children.push(child),
                indivisible => return Ok(indivisible),
            }
        } else {
            return Ok(Narrowed::Indivisible(plan.name().to_string()));
        }
    }
    if let (Some(write), [input]) = (plan.downcast_ref::<WriteFilesExec>(), &*children) {
        // Names of files may count the partitions of the whole stage.
        let write = write.restricted(Arc::clone(input), range.first);
        return Ok(Narrowed::Plan(Arc::new(write)));
    }
    replace_children_if_necessary(Arc::clone(plan), children).map(Narrowed::Plan)
}

/// Whether tasks may take ranges of the plan's partitions, whichever these are.
pub(crate) fn divisible(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let count = partitions(plan);
    if count <= 1 {
        return Ok(true);
    }
    if shares_state(plan) {
        return Ok(false);
    }
    if plan.children().is_empty() {
        let all_but_one = leaf(plan, PartitionRange::new(0, count - 1))?;
        return Ok(matches!(all_but_one, Narrowed::Plan(_)));
    }
    let is_union = plan.is::<UnionExec>();
    for (child, collected) in plan.children().into_iter().zip(collected_inputs(plan)) {
        let aligned = is_union || partitions(child) == count;
        let alone = aligned && divisible(child)?;
        if !collected && !alone {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Operators whose partitions depend on each other.
fn shares_state(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return *join.partition_mode() == PartitionMode::CollectLeft
            && (join.null_aware || !joins::broadcast_safe(*join.join_type()));
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        return !joins::broadcast_safe(*join.join_type());
    }
    plan.is::<RepartitionExec>() || plan.is::<RecursiveQueryExec>() || plan.is::<WorkTableExec>()
}

/// Which inputs an operator reads whole in each of its partitions.
pub(crate) fn collected_inputs(plan: &Arc<dyn ExecutionPlan>) -> Vec<bool> {
    if plan.is::<CrossJoinExec>() || plan.is::<NestedLoopJoinExec>() {
        return vec![true, false];
    }
    let mut collected: Vec<bool> = plan
        .input_distribution_requirements()
        .per_child_distributions()
        .map(|wanted| matches!(wanted, Distribution::SinglePartition))
        .collect();
    if plan.is::<ScalarSubqueryExec>() {
        // Its first input passes through, the others are subqueries.
        collected.iter_mut().skip(1).for_each(|one| *one = true);
    }
    collected
}

/// Partition *p* of a union is one partition of one branch; a branch may be left with none.
fn union(plan: &Arc<dyn ExecutionPlan>, range: PartitionRange) -> Result<Narrowed> {
    let mut children = Vec::new();
    let mut offset = 0;
    for child in plan.children() {
        let count = partitions(child);
        let first = range.first.clamp(offset, offset + count) - offset;
        let end = range.end().clamp(offset, offset + count) - offset;
        match restrict(child, PartitionRange::new(first, end - first))? {
            Narrowed::Plan(child) => children.push(child),
            indivisible => return Ok(indivisible),
        }
        offset += count;
    }
    replace_children_if_necessary(Arc::clone(plan), children).map(Narrowed::Plan)
}

fn leaf(plan: &Arc<dyn ExecutionPlan>, range: PartitionRange) -> Result<Narrowed> {
    let count = range.count as usize;
    if let Some(read) = plan.downcast_ref::<ExchangeReadExec>() {
        return Ok(Narrowed::Plan(Arc::new(read.restricted(range)?)));
    }
    if plan.is::<EmptyExec>() {
        return Ok(Narrowed::Plan(Arc::new(
            EmptyExec::new(plan.schema()).with_partitions(count),
        )));
    }
    if plan.is::<PlaceholderRowExec>() {
        return Ok(Narrowed::Plan(Arc::new(
            PlaceholderRowExec::new(plan.schema()).with_partitions(count),
        )));
    }
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        let source: &dyn Any = scan.data_source().as_ref();
        if let Some(files) = source.downcast_ref::<FileScanConfig>() {
            let groups = files.file_groups[bounds(range, files.file_groups.len())].to_vec();
            let partitioning = files.output_partitioning.as_ref();
            let narrowed = FileScanConfigBuilder::from(files.clone())
                .with_output_partitioning(partitioning.map(|whole| promised(whole, groups.len())))
                .with_file_groups(groups)
                .build();
            return Ok(Narrowed::Plan(DataSourceExec::from_data_source(narrowed)));
        }
        if let Some(memory) = source.downcast_ref::<MemorySourceConfig>() {
            let kept = &memory.partitions()[bounds(range, memory.partitions().len())];
            let (schema, columns) = (memory.original_schema(), memory.projection().clone());
            let narrowed = MemorySourceConfig::try_new(kept, schema, columns)?
                .try_with_sort_information(memory.sort_information().to_vec())?
                .with_limit(memory.fetch());
            return Ok(Narrowed::Plan(DataSourceExec::from_data_source(narrowed)));
        }
    }
    Ok(Narrowed::Indivisible(plan.name().to_string()))
}

/// What is promised of the files of some partitions, if it was promised of the files of all. Groups
/// of files that were divided by their keys still are; without that promise a join of two such scans,
/// which reads them side by side, has no reason to believe that keys meet.
fn promised(whole: &Partitioning, count: usize) -> Partitioning {
    match whole {
        Partitioning::Hash(keys, _) => Partitioning::Hash(keys.clone(), count),
        _ => Partitioning::UnknownPartitioning(count),
    }
}

/// A leaf without a partition, in place of one that a task has no part of.
fn nothing(plan: &Arc<dyn ExecutionPlan>) -> Narrowed {
    Narrowed::Plan(Arc::new(EmptyExec::new(plan.schema()).with_partitions(0)))
}

fn bounds(range: PartitionRange, len: usize) -> std::ops::Range<usize> {
    let end = (range.end() as usize).min(len);
    (range.first as usize).min(end)..end
}
