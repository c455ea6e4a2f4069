//! What a plan reads from storage, and how much.

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;

/// Bytes of the files, or parts of files, that the plan's scans would read if they read all rows of
/// the columns that they need. Where the sizes of columns are not known, all columns count.
pub(crate) fn scan_bytes(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    own_bytes(plan) + plan.children().into_iter().map(scan_bytes).sum::<u64>()
}

/// What a scan of files reads, and how; none if the plan is no such scan.
pub(crate) fn files(plan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    let source: &dyn Any = scan.data_source().as_ref();
    source.downcast_ref::<FileScanConfig>()
}

fn own_bytes(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let Some(config) = files(plan) else {
        return 0;
    };
    let files = config.file_groups.iter().flat_map(|group| group.iter());
    let bytes = files.map(|file| match &file.range {
        Some(range) => u64::try_from(range.end - range.start).unwrap_or(0),
        None => file.object_meta.size,
    });
    let bytes: u64 = bytes.sum();
    match read_share(config) {
        Some((read, all)) => scaled(bytes, read, all),
        None => bytes,
    }
}

/// How much of the table the columns make up that the scan reads: their bytes, and those of all
/// columns. Sizes are those in memory, as statistics have them; of a file they are in much the same
/// proportion. None if some size is not known.
fn read_share(config: &FileScanConfig) -> Option<(u64, u64)> {
    let statistics = config.statistics();
    let columns = config.file_schema().fields().len();
    let sizes: Option<Vec<u64>> = statistics
        .column_statistics
        .iter()
        .take(columns)
        .map(|column| column.byte_size.get_value().map(|bytes| *bytes as u64))
        .collect();
    let sizes = sizes.filter(|sizes| sizes.len() == columns)?;
    let source = config.file_source();
    let projection = source.projection()?;
    let filter = source.filter();
    let read: HashSet<usize> = projection
        .expr_iter()
        .chain(filter)
        .flat_map(|expr| collect_columns(&expr))
        .map(|column| column.index())
        .collect();
    let bytes = |index: &usize| sizes.get(*index).copied().unwrap_or(0);
    Some((read.iter().map(bytes).sum(), sizes.iter().sum()))
}

/// `bytes` times `read` / `all`.
fn scaled(bytes: u64, read: u64, all: u64) -> u64 {
    let scaled = u128::from(bytes) * u128::from(read) / u128::from(all.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX).min(bytes)
}
