//! Whether running a plan twice leaves the same rows in the same partitions.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Volatility;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

use crate::exchange_write::Sink;

/// Aggregates whose value depends on the order in which rows arrive: they pick one, list all, or
/// approximate by a digest that is made as they come.
const ORDER_SENSITIVE: [&str; 9] = [
    "any_value",
    "first_value",
    "last_value",
    "nth_value",
    "array_agg",
    "string_agg",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
];

/// Rows arrive at an operator in an order that may differ from run to run; so whatever picks among
/// rows, or numbers them, by the order of their arrival may leave other rows the next time. Sums of
/// floats may differ in their last digits, which is within what floats promise and moves no row to
/// another partition: but see [`divides_by_sums`].
pub(crate) fn deterministic(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    if picks_by_arrival(plan) || volatile(plan)? {
        return Ok(false);
    }
    for child in plan.children() {
        if !deterministic(child)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a sum of floats, whose last digits depend on the order of arrival, may choose the
/// partition of a row.
pub(crate) fn divides_by_sums(plan: &Arc<dyn ExecutionPlan>, sink: &Sink) -> Result<bool> {
    let Sink::Hash { exprs, .. } = sink else {
        return Ok(false);
    };
    let schema = plan.schema();
    for expr in exprs {
        if expr.data_type(&schema)?.is_floating() && computes_floats(plan) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn computes_floats(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let own = plan.downcast_ref::<AggregateExec>();
    own.is_some_and(|own| !own.aggr_expr().is_empty())
        || plan.children().into_iter().any(computes_floats)
}

fn picks_by_arrival(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if plan.fetch().is_some() || plan.is::<WindowAggExec>() || plan.is::<BoundedWindowAggExec>() {
        return true;
    }
    let limit = plan.downcast_ref::<GlobalLimitExec>();
    if limit.is_some_and(|limit| limit.skip() > 0) {
        return true;
    }
    plan.downcast_ref::<AggregateExec>().is_some_and(|agg| {
        agg.limit_options().is_some()
            || agg
                .aggr_expr()
                .iter()
                .any(|f| ORDER_SENSITIVE.contains(&f.fun().name()))
    })
}

fn volatile(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(&mut |root: &Arc<dyn PhysicalExpr>| {
        root.apply(|expr| {
            let function = expr.downcast_ref::<ScalarFunctionExpr>();
            if function.is_some_and(|f| f.fun().signature().volatility == Volatility::Volatile) {
                found = true;
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}
