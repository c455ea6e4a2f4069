//! Joins that pause.
//!
//! A task notices that it is cancelled, and lets others have its thread, when its operators pause.
//! DataFusion has leaves and exchanges count what they give and pause now and then; a join gives away all
//! matches of one batch of its input without asking either, and under an aggregate that may be billions
//! of rows. One whose filter rejects all of them gives nothing that could be counted: see [`Tried`].

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
    PiecewiseMergeJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::unnest::UnnestExec;

use crate::portions::{PortionsExec, Tried};

/// The same plan, in which whatever makes many rows of one counts the batches that it gives, as leaves
/// do, and joins with a filter count the pairs that they try.
pub(crate) fn pausing(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        Ok(match multiplies(&node) {
            true => {
                let node = in_portions(node)?;
                Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>)
            }
            false => Transformed::no(node),
        })
    })
    .data()
}

/// A join that may try pairs without giving any, asking for its probe side in portions.
fn in_portions(node: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let tried = Tried::default();
    let portions = |probe: &Arc<dyn ExecutionPlan>| {
        Arc::new(PortionsExec::new(Arc::clone(probe), tried.clone())) as Arc<dyn ExecutionPlan>
    };
    if let Some(join) = node.downcast_ref::<HashJoinExec>()
        && let Some(filter) = join.filter()
    {
        let inputs = vec![Arc::clone(join.left()), portions(join.right())];
        let counting = join.builder().with_filter(Some(tried.counting(filter)));
        return counting.with_new_children(inputs)?.build_exec();
    }
    if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>()
        && let Some(filter) = join.filter()
    {
        let (left, right) = (Arc::clone(join.left()), portions(join.right()));
        let counting = NestedLoopJoinExecBuilder::new(left, right, *join.join_type())
            .with_projection_ref(join.projection().clone())
            .with_filter(Some(tried.counting(filter)))
            .build()?;
        return Ok(Arc::new(counting));
    }
    Ok(node)
}

/// The operator that a plan made by [`pausing`] has in the place of `stage`'s.
pub(crate) fn beneath_pause<'a>(
    stage: &Arc<dyn ExecutionPlan>,
    task: &'a Arc<dyn ExecutionPlan>,
) -> &'a Arc<dyn ExecutionPlan> {
    let task = match task.children().first() {
        Some(child) if task.is::<PortionsExec>() => child,
        _ => task,
    };
    match task.children().first() {
        Some(child) if multiplies(stage) && task.is::<CooperativeExec>() => child,
        _ => task,
    }
}

fn multiplies(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.is::<HashJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<PiecewiseMergeJoinExec>()
        || node.is::<UnnestExec>()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::compute::concat_batches;
    use datafusion::physical_plan::{collect, displayable};
    use datafusion::prelude::{SessionConfig, SessionContext};
    use futures::{FutureExt, StreamExt};

    use super::*;
    use crate::metrics::operator_metrics;

    /// Whether all of a plan is computed before it pauses for the first time.
    fn runs_through(plan: &Arc<dyn ExecutionPlan>, context: &SessionContext) -> bool {
        let mut rows = plan.execute(0, context.task_ctx()).unwrap();
        rows.next().now_or_never().is_some()
    }

    #[tokio::test]
    async fn a_join_pauses_before_it_has_given_all_matches_of_a_batch() {
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        let table = "create table t as select 1 as k, value as v from generate_series(1, 2000)";
        context.sql(table).await.unwrap().collect().await.unwrap();
        for sql in [
            "select sum(a.v + b.v) from t a join t b on a.k = b.k",
            "select sum(a.v + b.v) from t a join t b on a.v + b.v > a.k",
            "select sum(a.v + b.v) from t a cross join t b",
            // Nothing passes.
            "select sum(a.v) from t a join t b on a.k = b.k and a.v + b.v < 0",
            "select sum(a.v) from t a join t b on a.v + b.v < 0",
        ] {
            let frame = context.sql(sql).await.unwrap();
            let plan = frame.create_physical_plan().await.unwrap();
            assert!(runs_through(&plan, &context), "{sql}");
            let again = context.sql(sql).await.unwrap();
            let plan = pausing(again.create_physical_plan().await.unwrap()).unwrap();
            assert!(!runs_through(&plan, &context), "{sql}");
        }
    }

    #[tokio::test]
    async fn joins_that_try_pairs_in_portions_give_the_same_rows_and_are_measured() {
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        let table =
            "create table t as select value % 7 as k, value as v from generate_series(1, 500)";
        context.sql(table).await.unwrap().collect().await.unwrap();
        for kind in [
            "join",
            "left join",
            "right join",
            "full join",
            "left semi join",
        ] {
            for on in ["a.k = b.k and a.v + b.v < 300", "a.v + b.v < 300"] {
                let sql = format!("select a.v from t a {kind} t b on {on} order by 1");
                // A join that ran cannot run again.
                let frame = context.sql(&sql).await.unwrap();
                let stage = frame.create_physical_plan().await.unwrap();
                let again = context.sql(&sql).await.unwrap();
                let task = pausing(again.create_physical_plan().await.unwrap()).unwrap();
                let text = displayable(task.as_ref()).indent(false).to_string();
                assert!(text.contains("PortionsExec"), "{text}");
                let rows = collect(Arc::clone(&task), context.task_ctx())
                    .await
                    .unwrap();
                let expected = collect(Arc::clone(&stage), context.task_ctx())
                    .await
                    .unwrap();
                let counted = |task: &Arc<dyn ExecutionPlan>| {
                    let all = operator_metrics(&stage, task);
                    all.iter().map(Vec::is_empty).collect::<Vec<_>>()
                };
                assert_eq!(counted(&task), counted(&stage), "{text}");
                let rows = concat_batches(&task.schema(), &rows).unwrap();
                let expected = concat_batches(&task.schema(), &expected).unwrap();
                assert_eq!(rows, expected, "{sql}");
            }
        }
    }
}
