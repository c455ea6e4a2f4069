//! Limits that are kept below a gather as well, so that no task leaves more than anyone will take.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::limit::LocalLimitExec;

use crate::encodable::is_wide;

/// The plan, with no more rows in a partition than anyone above will take.
pub(crate) fn limited(
    plan: &Arc<dyn ExecutionPlan>,
    fetch: Option<usize>,
) -> Arc<dyn ExecutionPlan> {
    match fetch {
        Some(fetch) if !is_wide(fetch) && !leaves_at_most(plan, fetch) => {
            Arc::new(LocalLimitExec::new(Arc::clone(plan), fetch))
        }
        _ => Arc::clone(plan),
    }
}

fn leaves_at_most(plan: &Arc<dyn ExecutionPlan>, rows: usize) -> bool {
    if plan.fetch().is_some_and(|fetch| fetch <= rows) {
        return true;
    }
    match (plan.cardinality_effect(), plan.children().as_slice()) {
        (CardinalityEffect::Equal | CardinalityEffect::LowerEqual, [input]) => {
            leaves_at_most(input, rows)
        }
        _ => false,
    }
}
