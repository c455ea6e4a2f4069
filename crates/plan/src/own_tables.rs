//! Tables that a scheduler has itself (information_schema and the like). Executors do not have them.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::SessionState;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::streaming::StreamingTableExec;
use datafusion::physical_plan::{ExecutionPlan, collect};

/// Whether every row comes from them.
pub(crate) fn knows_itself(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut system = false;
    let mut other = false;
    let _ = plan.apply(|node| {
        if node.is::<StreamingTableExec>() {
            system = true;
        } else if node.children().is_empty()
            && !node.is::<EmptyExec>()
            && !node.is::<PlaceholderRowExec>()
        {
            other = true;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    system && !other
}

/// Puts their rows in their place.
pub(crate) async fn materialize(
    plan: Arc<dyn ExecutionPlan>,
    state: &SessionState,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut scans = Vec::new();
    plan.apply(|node| {
        if node.is::<StreamingTableExec>() {
            scans.push(Arc::clone(node));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if scans.is_empty() {
        return Ok(plan);
    }
    let mut tables = Vec::with_capacity(scans.len());
    for scan in scans {
        let batches = collect(Arc::clone(&scan), state.task_ctx()).await?;
        let rows = MemorySourceConfig::try_new(&[batches], scan.schema(), None)?;
        tables.push((scan, DataSourceExec::from_data_source(rows)));
    }
    plan.transform_up(|node| {
        let table = tables.iter().find(|(scan, _)| Arc::ptr_eq(scan, &node));
        Ok(match table {
            Some((_, rows)) => Transformed::yes(Arc::clone(rows) as Arc<dyn ExecutionPlan>),
            None => Transformed::no(node),
        })
    })
    .data()
}
