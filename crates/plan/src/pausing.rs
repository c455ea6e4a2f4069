//! Joins that pause.
//!
//! A task notices that it is cancelled, and lets others have its thread, when its operators pause.
//! DataFusion has leaves and exchanges count what they give and pause now and then; a join gives away all
//! matches of one batch of its input without asking either, and under an aggregate that may be billions
//! of rows. So joins count what they give as well.
//!
//! That is not enough for joins that try many pairs and give few: all pairs may fail a filter, and a semi,
//! anti or mark join gives a row of one side once, or not, however many of the other side it meets. Hash
//! joins walk through all of those, nested loops through everything. They ask for their probe side in
//! portions: see [`PortionsExec`]. Sort-merge joins pass over what they do not give, unless they have a filter.
//!
//! What nothing outside of an operator can divide: the rows that one row of the probe side meets (or a
//! portion of them, in a sort-merge join that gives rows of one side), the table that a hash join makes
//! of the rows of its build side and its last pass over them, and what one batch of lists unnests to.
//! Each is bounded by what a task may hold in memory.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinSide, JoinType, Result, internal_err};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::unnest::UnnestExec;

use crate::portions::PortionsExec;
use crate::tried::Tried;

/// A sort-merge join that gives rows of one side asks its filter about each row of the other side and all
/// rows of a portion at once. With fewer than so many it would mostly ask.
const ROWS_AT_ONCE: usize = 512;

/// The same plan, in which whatever makes many rows of one counts the batches that it gives, as leaves
/// do, and joins that may try many pairs and give few ask for their probe side in portions.
pub(crate) fn pausing(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        Ok(match multiplies(&node) {
            true => Transformed::yes(paused(node)?),
            false => Transformed::no(node),
        })
    })
    .data()
}

fn paused(node: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(join) = node.downcast_ref::<HashJoinExec>()
        && may_give_few(*join.join_type(), join.filter())
    {
        return in_portions(node, Tried::by_hash_join());
    }
    if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>()
        && may_give_few(*join.join_type(), join.filter())
    {
        return in_portions(node, Tried::by_nested_loops());
    }
    if let Some(join) = node.downcast_ref::<SortMergeJoinExec>()
        && let Some(filter) = join.filter()
    {
        let join = sorted_in_portions(join, filter)?;
        return Ok(Arc::new(CooperativeExec::new(Arc::new(join))));
    }
    Ok(Arc::new(CooperativeExec::new(node)))
}

/// Whether a join that tries all pairs may give fewer rows than pairs.
fn may_give_few(join_type: JoinType, filter: Option<&JoinFilter>) -> bool {
    filter.is_some() || gives_one_side(join_type)
}

fn gives_one_side(join_type: JoinType) -> bool {
    match join_type {
        JoinType::LeftSemi
        | JoinType::RightSemi
        | JoinType::LeftAnti
        | JoinType::RightAnti
        | JoinType::LeftMark
        | JoinType::RightMark => true,
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => false,
    }
}

/// A join that counts itself how many pairs it tries, and whose right side is its probe side.
fn in_portions(join: Arc<dyn ExecutionPlan>, tried: Tried) -> Result<Arc<dyn ExecutionPlan>> {
    let [build, probe] = join.children()[..] else {
        return internal_err!("{} has not two inputs", join.name());
    };
    let portions = PortionsExec::below(probe, &tried, 1);
    let inputs: Vec<Arc<dyn ExecutionPlan>> = vec![Arc::clone(build), Arc::new(portions)];
    let join = replace_children_if_necessary(join, inputs)?;
    Ok(Arc::new(PortionsExec::above(join, tried)))
}

/// A sort-merge join whose filter counts how many pairs it tries.
fn sorted_in_portions(join: &SortMergeJoinExec, filter: &JoinFilter) -> Result<SortMergeJoinExec> {
    let (tried, counting) = Tried::by_filter(filter);
    let least = match gives_one_side(join.join_type) {
        true => ROWS_AT_ONCE,
        false => 1,
    };
    let portions = |probe: &Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
        Arc::new(PortionsExec::below(probe, &tried, least))
    };
    let (left, right) = match SortMergeJoinExec::probe_side(&join.join_type) {
        JoinSide::Right => (Arc::clone(&join.left), portions(&join.right)),
        _ => (portions(&join.left), Arc::clone(&join.right)),
    };
    SortMergeJoinExec::try_new(
        left,
        right,
        join.on.clone(),
        Some(counting),
        join.join_type,
        join.sort_options.clone(),
        join.null_equality,
    )
}

/// The operator that a plan made by [`pausing`] has in the place of `stage`'s.
pub(crate) fn beneath_pause<'a>(
    stage: &Arc<dyn ExecutionPlan>,
    mut task: &'a Arc<dyn ExecutionPlan>,
) -> &'a Arc<dyn ExecutionPlan> {
    while let Some(portions) = task.downcast_ref::<PortionsExec>() {
        task = portions.input();
    }
    match task.downcast_ref::<CooperativeExec>() {
        Some(pause) if multiplies(stage) => pause.input(),
        _ => task,
    }
}

fn multiplies(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.is::<HashJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<UnnestExec>()
}

#[cfg(test)]
mod tests;
