//! What DataFusion's encoding cannot say, said in another way.
//!
//! Most limits have 32 bits there. One that has more is left out where it only saves work, and
//! otherwise stands above the operator, as a limit that has 64. A series of which no column is wanted
//! is encoded without what it is made of.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, not_impl_err};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::memory::LazyMemoryExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// The same plan without what its encoding would change.
///
/// # Errors
/// If more rows are to be skipped than can be said.
pub(crate) fn encodable(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if let Some(limit) = node.downcast_ref::<GlobalLimitExec>() {
            let skip = limit.skip();
            if is_wide(skip) {
                return not_impl_err!("OFFSET {skip} is more than {}, which is the most", u32::MAX);
            }
            return Ok(Transformed::no(node));
        }
        if let Some(series) = node.downcast_ref::<LazyMemoryExec>() {
            return Ok(match rows_of_series(series)? {
                Some(rows) => Transformed::yes(rows),
                None => Transformed::no(node),
            });
        }
        match node.fetch() {
            Some(fetch) if is_wide(fetch) && !is_sort(&node) => {
                Ok(Transformed::yes(limit_above(&node, fetch)?))
            }
            _ => Ok(Transformed::no(node)),
        }
    })
    .data()
}

/// Whether a number of rows is too large for the encoding of most operators.
pub(crate) fn is_wide(rows: usize) -> bool {
    u32::try_from(rows).is_err()
}

/// Their limits are encoded as they are.
fn is_sort(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<SortExec>() || plan.is::<SortPreservingMergeExec>()
}

fn limit_above(plan: &Arc<dyn ExecutionPlan>, fetch: usize) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(local) = plan.downcast_ref::<LocalLimitExec>() {
        return Ok(Arc::clone(local.input()));
    }
    let Some(all) = plan.with_fetch(None) else {
        let name = plan.name();
        return not_impl_err!("LIMIT {fetch} is more than {name} can be told: leave it out");
    };
    // Where rows come out in several places, whoever brings them together knows the limit as well.
    if all.output_partitioning().partition_count() > 1 {
        return Ok(all);
    }
    Ok(Arc::new(GlobalLimitExec::new(all, 0, Some(fetch))))
}

/// The rows of a series of which no column is wanted; none if one is.
fn rows_of_series(series: &LazyMemoryExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let ([generator], true) = (
        series.generators().as_slice(),
        series.schema().fields().is_empty(),
    ) else {
        return Ok(None);
    };
    // Nothing but what it makes says which columns it has.
    let looked_into = generator.read().reset_state();
    let first = looked_into.write().generate_next_batch()?;
    let Some(first) = first else {
        return Ok(Some(Arc::new(EmptyExec::new(series.schema()))));
    };
    let whole = LazyMemoryExec::try_new(first.schema(), vec![Arc::clone(generator)])?;
    let nothing: [ProjectionExpr; 0] = [];
    let rows = ProjectionExec::try_new(nothing, Arc::new(whole))?;
    Ok(Some(Arc::new(rows)))
}
