//! Scans of Arrow IPC streams. DataFusion tells them from scans of Arrow files by looking into a
//! file when it plans, and encodes both as scans of files; here they stay what they are.

use std::sync::Arc;

use datafusion::common::{Result, internal_err};
use datafusion::datasource::physical_plan::{
    ArrowSource, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;

use crate::scan::files;

/// The scan of files that DataFusion would encode in place of a scan of streams; none if the plan is
/// no scan of streams.
pub(crate) fn as_files(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let streams = files(plan).filter(|files| files.file_source().file_type() == "arrow_stream");
    let Some(streams) = streams else {
        return Ok(None);
    };
    let schema = streams.file_source().table_schema().clone();
    scan(streams, Arc::new(ArrowSource::new_file_source(schema))).map(Some)
}

/// Makes a scan of streams of what was decoded as a scan of files.
pub(crate) fn as_streams(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(files) = files(plan) else {
        return internal_err!("{} is no scan of files", plan.name());
    };
    let schema = files.file_source().table_schema().clone();
    scan(files, Arc::new(ArrowSource::new_stream_file_source(schema)))
}

/// The same scan with another source.
fn scan(files: &FileScanConfig, mut source: Arc<dyn FileSource>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(projection) = files.file_source().projection()
        && let Some(projected) = source.try_pushdown_projection(projection)?
    {
        source = projected;
    }
    let files = FileScanConfigBuilder::from(files.clone());
    Ok(DataSourceExec::from_data_source(
        files.with_source(source).build(),
    ))
}
