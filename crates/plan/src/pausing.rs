//! Joins that pause.
//!
//! A task notices that it is cancelled, and lets others have its thread, when its operators pause.
//! DataFusion has leaves and exchanges count what they give and pause now and then; a join gives away all
//! matches of one batch of its input without asking either, and under an aggregate that may be billions
//! of rows.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PiecewiseMergeJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::unnest::UnnestExec;

/// The same plan, in which whatever makes many rows of one counts the batches that it gives, as leaves do.
pub(crate) fn pausing(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        Ok(match multiplies(&node) {
            true => {
                Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>)
            }
            false => Transformed::no(node),
        })
    })
    .data()
}

/// The operator that a plan made by [`pausing`] has in the place of `stage`'s.
pub(crate) fn beneath_pause<'a>(
    stage: &Arc<dyn ExecutionPlan>,
    task: &'a Arc<dyn ExecutionPlan>,
) -> &'a Arc<dyn ExecutionPlan> {
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
    use datafusion::prelude::{SessionConfig, SessionContext};
    use futures::{FutureExt, StreamExt};

    use super::*;

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
        ] {
            let frame = context.sql(sql).await.unwrap();
            let plan = frame.create_physical_plan().await.unwrap();
            assert!(runs_through(&plan, &context), "{sql}");
            let again = context.sql(sql).await.unwrap();
            let plan = pausing(again.create_physical_plan().await.unwrap()).unwrap();
            assert!(!runs_through(&plan, &context), "{sql}");
        }
    }
}
