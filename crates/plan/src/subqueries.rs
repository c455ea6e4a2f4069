//! Uncorrelated scalar subqueries: values that an operator above computes once, for expressions
//! anywhere below it to use.
//!
//! ```text
//!   ScalarSubquery                     stage 2: ScalarSubquery ─ Filter(… > value 0) ─ ExchangeRead 1
//!     Filter(… > value 0)                         └ ExchangeRead 0
//!       Repartition …         ──►      stage 1: what the filter reads, which needs no value
//!     (SELECT avg …)                   stage 0: ExchangeWrite(forward) ─ (SELECT avg …)
//! ```
//!
//! An expression finds its value only within the process that computed it, so each stage that
//! uses one begins with an operator that reads the value from an exchange.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::physical_planning_context::SubqueryIndex;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;

/// Whether an expression uses the value of a scalar subquery.
pub(crate) fn uses_value(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let found = expr.exists(|part| Ok(part.is::<ScalarSubqueryExpr>()));
    found.unwrap_or(true)
}

/// For each subquery of `scope`, whether `plan`, a part of what is below it, uses its value.
pub(crate) fn used_values(
    plan: &Arc<dyn ExecutionPlan>,
    scope: &ScalarSubqueryExec,
) -> Result<Vec<bool>> {
    // Values are told apart by where they are stored, not by their types.
    let values: Vec<ScalarSubqueryExpr> = (0..scope.subqueries().len())
        .map(|index| {
            let (index, results) = (SubqueryIndex::new(index), scope.results().clone());
            ScalarSubqueryExpr::new(
                datafusion::arrow::datatypes::DataType::Null,
                true,
                index,
                results,
            )
        })
        .collect();
    let mut used = vec![false; values.len()];
    plan.apply(|node| {
        node.apply_expressions(&mut |root: &Arc<dyn PhysicalExpr>| {
            root.apply(|part| {
                if let Some(value) = part.downcast_ref::<ScalarSubqueryExpr>() {
                    for (known, used) in values.iter().zip(&mut used) {
                        *used |= known == value;
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(used)
}
