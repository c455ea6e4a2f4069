//! Limits that stay above windows.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

/// Makes a sort that keeps the first rows above a window a sort and a limit, before DataFusion decides
/// which sorts there must be.
///
/// Where the rows come in order, DataFusion has a merge below the window do the work of the sort, and
/// hands it the number of rows as well: the window then sees that many and no more. A limit of its own
/// stays where it is. If the sort stays too, the limit becomes part of it again afterwards, by a rule
/// that knows windows.
#[derive(Debug)]
pub(crate) struct LimitsAboveWindows;

impl PhysicalOptimizerRule for LimitsAboveWindows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let limited = node
                .downcast_ref::<SortExec>()
                .filter(|sort| !sort.preserve_partitioning() && has_window(sort.input()))
                .and_then(|sort| sort.fetch().map(|fetch| (sort.with_fetch(None), fetch)));
            let Some((sort, fetch)) = limited else {
                return Ok(Transformed::no(node));
            };
            let limit = GlobalLimitExec::new(Arc::new(sort), 0, Some(fetch));
            Ok(Transformed::yes(Arc::new(limit) as Arc<dyn ExecutionPlan>))
        })
        .data()
    }

    fn name(&self) -> &str {
        "LimitsAboveWindows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn has_window(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<WindowAggExec>()
        || plan.is::<BoundedWindowAggExec>()
        || plan.children().into_iter().any(has_window)
}
