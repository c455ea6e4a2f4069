//! How much a plan reads from storage.

use std::any::Any;
use std::sync::Arc;

use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;

use crate::exchange_read::ExchangeReadExec;

/// Bytes of the files, or parts of files, that the plan's scans would read if they read all of
/// them. Column pruning and filters only make it less.
pub(crate) fn scan_bytes(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    own_bytes(plan) + plan.children().into_iter().map(scan_bytes).sum::<u64>()
}

fn own_bytes(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let Some(scan) = plan.downcast_ref::<DataSourceExec>() else {
        return 0;
    };
    let source: &dyn Any = scan.data_source().as_ref();
    let Some(config) = source.downcast_ref::<FileScanConfig>() else {
        return 0;
    };
    let files = config.file_groups.iter().flat_map(|group| group.iter());
    files
        .map(|file| match &file.range {
            Some(range) => u64::try_from(range.end - range.start).unwrap_or(0),
            None => file.object_meta.size,
        })
        .sum()
}

/// Whether some part of the plan reads an exchange.
pub(crate) fn reads_exchange(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<ExchangeReadExec>() || plan.children().into_iter().any(reads_exchange)
}
