//! Whether running a plan twice leaves the same rows in the same partitions.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Volatility;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

use crate::exchange_read::ExchangeReadExec;
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
/// partition of a row: be it itself, as a text, or by what it is compared with. `columns` is what
/// [`summed`] says of the rows.
pub(crate) fn divides_by_sums(sink: &Sink, columns: &[bool]) -> bool {
    match sink {
        Sink::Hash { exprs, .. } => exprs.iter().any(|expr| uses(expr, columns)),
        Sink::Forward => false,
    }
}

/// For each column of a plan, whether its values may depend on sums of floats. `stages` says so of the
/// stages whose exchanges it reads.
pub(crate) fn summed(plan: &Arc<dyn ExecutionPlan>, stages: &[Vec<bool>]) -> Vec<bool> {
    if let Some(read) = plan.downcast_ref::<ExchangeReadExec>() {
        let stage = stages.get(read.stage().0 as usize);
        return stage.cloned().unwrap_or_default();
    }
    let inputs = plan.children().into_iter();
    let inputs: Vec<Vec<bool>> = inputs.map(|input| summed(input, stages)).collect();
    let any = inputs.iter().flatten().any(|summed| *summed);
    let schema = plan.schema();
    if let (Some(total), [input]) = (plan.downcast_ref::<AggregateExec>(), inputs.as_slice()) {
        let groups = total.group_expr().expr();
        let columns = schema.fields().iter().enumerate();
        return columns
            .map(|(index, column)| match groups.get(index) {
                Some((group, _)) => uses(group, input),
                None => any || column.data_type().is_floating(),
            })
            .collect();
    }
    if let (Some(made), [input]) = (plan.downcast_ref::<ProjectionExec>(), inputs.as_slice()) {
        let columns = made.expr().iter();
        return columns.map(|column| uses(&column.expr, input)).collect();
    }
    match (plan.children().as_slice(), inputs.as_slice()) {
        ([below], [input]) if below.schema() == schema => input.clone(),
        _ => vec![any; schema.fields().len()],
    }
}

fn uses(expr: &Arc<dyn PhysicalExpr>, columns: &[bool]) -> bool {
    let used = collect_columns(expr);
    used.iter()
        .any(|column| columns.get(column.index()).is_some_and(|summed| *summed))
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

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_expr::expressions::{cast, col};
    use datafusion::physical_plan::projection::ProjectionExpr;
    use paceline_model::StageId;

    use super::*;
    use crate::exchange_read::{Reads, RowProperties};

    #[test]
    fn a_sum_is_one_in_the_stages_above_as_well() {
        let fields = ["k", "x"].map(|name| Field::new(name, DataType::Float64, true));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let rows = RowProperties::default();
        let (stage, whole) = (StageId(1), Reads::Whole);
        let read = ExchangeReadExec::try_new(stage, Arc::clone(&schema), whole, vec![], rows);
        let made = ["x", "k"].map(|name| {
            let column = col(name, &schema).unwrap();
            let expr = cast(column, &schema, DataType::Utf8).unwrap();
            let alias = name.to_string();
            ProjectionExpr { expr, alias }
        });
        let plan = ProjectionExec::try_new(made, Arc::new(read.unwrap())).unwrap();
        let plan: Arc<dyn ExecutionPlan> = Arc::new(plan);
        let stages = [vec![true], vec![false, true]];
        let columns = summed(&plan, &stages);
        assert_eq!(columns, [true, false]);
        let divided_by = |name: &str| Sink::Hash {
            exprs: vec![col(name, &plan.schema()).unwrap()],
            partitions: 2,
        };
        assert!(divides_by_sums(&divided_by("x"), &columns));
        assert!(!divides_by_sums(&divided_by("k"), &columns));
        assert!(!divides_by_sums(&Sink::Forward, &columns));
    }
}
