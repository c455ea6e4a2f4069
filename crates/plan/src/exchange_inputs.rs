//! What a plan reads of exchanges.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use paceline_model::StageInput;

use crate::exchange_read::{ExchangeReadExec, Reads};
use crate::restrict::{collected_inputs, partitions};

/// Whether some part of the plan reads an exchange.
pub(crate) fn reads_exchange(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<ExchangeReadExec>() || plan.children().into_iter().any(reads_exchange)
}

/// Whether the plan does little with the rows of an exchange that it reads whole: it takes and leaves
/// some of them, or makes a single row of what the partitions before it made one row each.
pub(crate) fn finishes_exchange(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let children = plan.children();
    let [input] = children.as_slice() else {
        return plan
            .downcast_ref::<ExchangeReadExec>()
            .is_some_and(|read| read.reads() == Reads::Whole);
    };
    let one_row = plan.downcast_ref::<AggregateExec>().is_some_and(|total| {
        *total.mode() == AggregateMode::Final && total.group_expr().is_empty()
    });
    (one_row || plan.is::<ProjectionExec>()) && finishes_exchange(input)
}

/// The exchanges that a plan reads. `own` says whether a task reads its own range there, not all.
pub(crate) fn exchange_inputs(plan: &Arc<dyn ExecutionPlan>, own: bool) -> Vec<StageInput> {
    let mut inputs = Vec::new();
    collect(plan, own, &mut inputs);
    inputs
}

fn collect(plan: &Arc<dyn ExecutionPlan>, own: bool, inputs: &mut Vec<StageInput>) {
    if let Some(read) = plan.downcast_ref::<ExchangeReadExec>() {
        inputs.push(StageInput {
            stage: read.stage(),
            whole: !own || read.reads() == Reads::Whole,
        });
    }
    let union = plan.is::<UnionExec>();
    for (child, collected) in plan.children().into_iter().zip(collected_inputs(plan)) {
        let aligned = union || partitions(child) == partitions(plan);
        collect(child, own && aligned && !collected, inputs);
    }
}
