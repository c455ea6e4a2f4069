//! Scans that a sort leads.
//!
//! A scan below a sort reads row groups in the order that their statistics promise for it, so that
//! a top-k soon knows enough to skip the rest. That is a hint which DataFusion does not encode; it
//! is given again after decoding.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, SortOrderPushdownResult};

/// Tells the scans below sorts what they are sorted by. Sorts stay where they are.
pub(crate) fn led_by_sorts(
    plan: Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    if !config.optimizer.enable_sort_pushdown {
        return Ok(plan);
    }
    plan.transform_down(|node| {
        let Some(sort) = node.downcast_ref::<SortExec>() else {
            return Ok(Transformed::no(node));
        };
        match sort.input().try_pushdown_sort(sort.expr())? {
            SortOrderPushdownResult::Exact { inner }
            | SortOrderPushdownResult::Inexact { inner } => {
                let sort = replace_children_if_necessary(Arc::clone(&node), vec![inner])?;
                Ok(Transformed::yes(sort))
            }
            SortOrderPushdownResult::Unsupported => Ok(Transformed::no(node)),
        }
    })
    .data()
}
