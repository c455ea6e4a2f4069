//! How text files are to be read, as far as DataFusion's encoding of a scan does not say it: how they
//! are compressed, what ends a line of CSV, and that a file of JSON is an array.

use std::sync::Arc;

use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::physical_plan::{
    CsvSource, FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource, JsonSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use object_store::ObjectStore;
use prost::Message;

use crate::scan::files;

/// What is below it is a scan that is to be read like this.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FileScan {
    /// Empty for files that are not compressed.
    #[prost(string, tag = "1")]
    compression: String,
    #[prost(uint32, optional, tag = "2")]
    terminator: Option<u32>,
    #[prost(bool, tag = "3")]
    json_arrays: bool,
}

impl FileScan {
    /// What is to be encoded beside a scan, and the scan that DataFusion encodes; none if that says it
    /// all.
    pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<(Self, Arc<dyn ExecutionPlan>)> {
        let files = files(plan)?;
        let source = files.file_source();
        let arrays = source.downcast_ref::<JsonArrays>();
        let terminator = source
            .downcast_ref::<CsvSource>()
            .and_then(CsvSource::terminator);
        let scan = FileScan {
            compression: files.file_compression_type.get_variant().to_string(),
            terminator: terminator.map(u32::from),
            json_arrays: arrays.is_some(),
        };
        if scan == FileScan::default() {
            return None;
        }
        let encoded = match arrays {
            Some(JsonArrays(json)) => with_source(files, Arc::new(json.clone())),
            None => Arc::clone(plan),
        };
        Some((scan, encoded))
    }

    /// The scan as it was, of what was decoded.
    pub(crate) fn restore(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(files) = files(plan) else {
            return internal_err!("{} is no scan of files", plan.name());
        };
        let mut source = Arc::clone(files.file_source());
        if let Some(terminator) = self.terminator {
            let terminator = u8::try_from(terminator)
                .map_err(|_| internal_datafusion_err!("no byte ends a line: {terminator}"))?;
            let csv = source
                .downcast_ref::<CsvSource>()
                .ok_or_else(|| internal_datafusion_err!("a scan of CSV reads something else"))?;
            source = Arc::new(csv.with_terminator(Some(terminator)));
        }
        if self.json_arrays {
            let json = source
                .downcast_ref::<JsonSource>()
                .ok_or_else(|| internal_datafusion_err!("a scan of JSON reads something else"))?;
            source = Arc::new(JsonArrays::of(json));
        }
        let compression: CompressionTypeVariant = self.compression.parse()?;
        let restored = FileScanConfigBuilder::from(files.clone())
            .with_file_compression_type(FileCompressionType::from(compression))
            .with_source(source)
            .build();
        Ok(DataSourceExec::from_data_source(restored))
    }
}

fn with_source(files: &FileScanConfig, source: Arc<dyn FileSource>) -> Arc<dyn ExecutionPlan> {
    let files = FileScanConfigBuilder::from(files.clone());
    DataSourceExec::from_data_source(files.with_source(source).build())
}

/// Reads files of which each is an array of JSON. DataFusion does not tell what reads them from what
/// reads a value per line, and would divide a file where there is no place for that.
#[derive(Clone)]
pub(crate) struct JsonArrays(JsonSource);

impl JsonArrays {
    pub(crate) fn of(json: &JsonSource) -> Self {
        JsonArrays(json.clone().with_newline_delimited(false))
    }

    fn again(source: &Arc<dyn FileSource>) -> Option<Arc<dyn FileSource>> {
        let json = source.downcast_ref::<JsonSource>()?;
        Some(Arc::new(JsonArrays::of(json)))
    }
}

impl FileSource for JsonArrays {
    fn create_file_opener(
        &self,
        object_store: Arc<dyn ObjectStore>,
        base_config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.0
            .create_file_opener(object_store, base_config, partition)
    }

    fn table_schema(&self) -> &TableSchema {
        self.0.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        let sized = self.0.with_batch_size(batch_size);
        // It is a JsonSource again, whatever its size.
        Self::again(&sized).unwrap_or(sized)
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.0.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.0.metrics()
    }

    fn file_type(&self) -> &str {
        self.0.file_type()
    }

    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let pushed = self.0.try_pushdown_projection(projection)?;
        Ok(pushed.as_ref().and_then(Self::again))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.0.apply_expressions(f)
    }
}
