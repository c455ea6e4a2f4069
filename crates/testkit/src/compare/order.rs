//! What a statement fixes about the order of its rows.

use super::Order;
use datafusion::logical_expr::{Expr, FetchType, LogicalPlan};

/// Reads the outermost `ORDER BY` and `LIMIT` off a plan. Keys from the first one on that is no
/// output column are left out: rows that agree in those before it may stand in any order.
pub fn order_of(plan: &LogicalPlan) -> Order {
    let mut limit = None;
    let mut node = plan;
    loop {
        match node {
            LogicalPlan::Limit(cut) => {
                if let Ok(FetchType::Literal(Some(fetch))) = cut.get_fetch_type() {
                    limit = Some(fetch);
                }
                node = &cut.input;
            }
            LogicalPlan::Projection(projection) => node = &projection.input,
            LogicalPlan::SubqueryAlias(alias) => node = &alias.input,
            LogicalPlan::Sort(sort) => {
                let limit = limit.or(sort.fetch);
                let keys = sort.expr.iter().map_while(|key| position(plan, &key.expr));
                let keys = keys.collect();
                return Order { keys, limit };
            }
            _ => {
                return Order {
                    keys: vec![],
                    limit,
                };
            }
        }
    }
}

fn position(plan: &LogicalPlan, key: &Expr) -> Option<usize> {
    let column = match key {
        Expr::Column(column) => column.clone(),
        other => datafusion::common::Column::from_name(other.schema_name().to_string()),
    };
    let schema = plan.schema();
    schema
        .maybe_index_of_column(&column)
        .or_else(|| schema.index_of_column_by_name(None, column.name()))
}
