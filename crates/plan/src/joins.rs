//! Which joins may be given their build side whole in every task.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};

/// Whether several tasks may each join the whole left side with their part of the right one.
///
/// Not so where the answer holds rows of the left side for what was *not* (or was at least once)
/// found among all rows of the right side: no task sees all of those.
pub(crate) fn broadcast_safe(join_type: JoinType) -> bool {
    match join_type {
        JoinType::Inner
        | JoinType::Right
        | JoinType::RightSemi
        | JoinType::RightAnti
        | JoinType::RightMark => true,
        JoinType::Left
        | JoinType::Full
        | JoinType::LeftSemi
        | JoinType::LeftAnti
        | JoinType::LeftMark => false,
    }
}

/// Turns collected joins that are not safe to broadcast into partitioned ones, before DataFusion
/// decides on distribution. Null-aware anti joins have no partitioned form and stay as they are:
/// their stage runs as one task.
#[derive(Debug)]
pub(crate) struct PartitionUnsafeJoins;

impl PhysicalOptimizerRule for PartitionUnsafeJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else {
                return Ok(Transformed::no(node));
            };
            let collected = *join.partition_mode() == PartitionMode::CollectLeft;
            if !collected || join.null_aware || broadcast_safe(*join.join_type()) {
                return Ok(Transformed::no(node));
            }
            let partitioned = join
                .builder()
                .with_partition_mode(PartitionMode::Partitioned)
                .build_exec()?;
            Ok(Transformed::yes(partitioned))
        })
        .data()
    }

    fn name(&self) -> &str {
        "PartitionUnsafeJoins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
