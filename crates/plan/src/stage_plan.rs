//! A stage's plan on an executor.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::execution::TaskContext;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::ExecutionPlan;
use paceline_model::{ErrorClass, PartitionRange, QueryError, StageId};

use crate::codec;
use crate::error::classify;
use crate::exchange_read::{ExchangeReadExec, Reads};
use crate::exchange_write::{ExchangeWriteExec, Sink};
use crate::named_source::named_files;
use crate::pausing::pausing;
use crate::restrict::{Narrowed, restrict};
use crate::scan_order::led_by_sorts;
use crate::write_files::WriteFilesExec;

/// The partitions of one exchange that a task will read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangeNeed {
    /// The stage that left the exchange.
    pub stage: StageId,
    /// Partitions that are read one by one; none if the exchange is read whole.
    pub range: Option<PartitionRange>,
}

/// A decoded stage: what its tasks run, and how they divide what comes out.
///
/// Operators keep state from their first execution on, so every attempt decodes a plan of its own.
#[derive(Debug, Clone)]
pub struct StagePlan {
    /// The plan of the whole stage.
    pub input: Arc<dyn ExecutionPlan>,
    /// How the rows are divided.
    pub sink: Sink,
}

impl StagePlan {
    /// Decodes a stage's plan; functions are those of `context`.
    ///
    /// # Errors
    /// If the bytes are not a stage's plan, or name what this version does not know.
    pub fn decode(bytes: &[u8], context: &TaskContext) -> Result<Self, QueryError> {
        let options = context.session_config().options();
        let plan = codec::decode(bytes, context)
            .and_then(|plan| led_by_sorts(plan, options))
            .map_err(|e| classify(&e))?;
        match plan.downcast_ref::<ExchangeWriteExec>() {
            Some(end) => Ok(StagePlan {
                input: Arc::clone(end.input()),
                sink: end.sink().clone(),
            }),
            None => Err(QueryError::new(
                ErrorClass::Bug,
                format!("a stage's plan ends in {}", plan.name()),
            )),
        }
    }

    /// The plan of the task that takes those partitions; all partitions of the plan that comes
    /// back are to be executed, at the same time.
    ///
    /// Filters that operators build while they run (from a join's build side, from the rows that
    /// lead a top-k) are connected here: within a task both ends are in one process. Joins pause, so that a
    /// task that is cancelled ends.
    ///
    /// # Errors
    /// If the stage cannot be divided in that way.
    pub fn for_range(
        &self,
        range: PartitionRange,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, QueryError> {
        match restrict(&self.input, range).map_err(|e| classify(&e))? {
            Narrowed::Plan(plan) => FilterPushdown::new_post_optimization()
                .optimize(plan, config)
                .and_then(named_files)
                .and_then(pausing)
                .map_err(|e| classify(&e)),
            Narrowed::Indivisible(operator) => Err(QueryError::new(
                ErrorClass::Bug,
                format!("{operator} cannot be divided among tasks"),
            )),
        }
    }

    /// What a plan made by [`for_range`](Self::for_range) reads of which exchanges.
    pub fn exchange_needs(plan: &Arc<dyn ExecutionPlan>) -> Vec<ExchangeNeed> {
        let mut needs = Vec::new();
        collect_needs(plan, &mut needs);
        needs
    }

    /// Returns when nothing will appear any more outside, in files, of what was executed of a plan
    /// made by [`for_range`](Self::for_range). For when all its streams have ended or are dropped.
    pub async fn come_to_rest(plan: &Arc<dyn ExecutionPlan>) {
        let mut pending = vec![Arc::clone(plan)];
        while let Some(plan) = pending.pop() {
            if let Some(write) = plan.downcast_ref::<WriteFilesExec>() {
                write.come_to_rest().await;
            }
            pending.extend(plan.children().into_iter().cloned());
        }
    }
}

fn collect_needs(plan: &Arc<dyn ExecutionPlan>, needs: &mut Vec<ExchangeNeed>) {
    if let Some(read) = plan.downcast_ref::<ExchangeReadExec>() {
        needs.push(ExchangeNeed {
            stage: read.stage(),
            range: match read.reads() {
                Reads::Whole => None,
                Reads::Range(range) => Some(range),
            },
        });
    }
    for child in plan.children() {
        collect_needs(child, needs);
    }
}
