//! Tables whose files the catalog names one by one: planning lists nothing, and a query sees exactly the
//! rows of the version that it was planned with.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Result, Statistics, project_schema};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion_datasource::PartitionedFile;
use paceline_model::TableId;

use crate::write_names::place;

/// A file of a managed table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedFile {
    /// Where it lies below the location of its table.
    pub path: String,
    /// How many rows it has.
    pub rows: u64,
    /// How long it is.
    pub bytes: u64,
}

/// A managed table as of one version of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedDefinition {
    /// The schema that it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Which table it is, whatever its name is.
    pub id: TableId,
    /// The folder of its files: a URL that ends in `/`.
    pub location: String,
    /// The statement that created it.
    pub sql: String,
    /// Its columns.
    pub columns: SchemaRef,
    /// All its files.
    pub files: Vec<ManagedFile>,
}

/// A [`ManagedDefinition`] that can be scanned.
#[derive(Debug)]
pub(crate) struct ManagedProvider(pub(crate) ManagedDefinition);

impl ManagedProvider {
    fn statistics(&self) -> Statistics {
        let sum = |of: fn(&ManagedFile) -> u64| self.0.files.iter().map(of).sum::<u64>();
        let count = |sum: u64| usize::try_from(sum).unwrap_or(usize::MAX);
        let mut known = Statistics::new_unknown(&self.0.columns);
        known.num_rows = Precision::Exact(count(sum(|file| file.rows)));
        known.total_byte_size = Precision::Inexact(count(sum(|file| file.bytes)));
        known
    }
}

#[async_trait]
impl TableProvider for ManagedProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.columns)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.statistics())
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Row groups are skipped by them; rows are filtered above.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = &self.0;
        if table.files.is_empty() {
            let columns = project_schema(&table.columns, projection)?;
            return Ok(Arc::new(EmptyExec::new(columns)));
        }
        let (store, _) = place(&table.location, "")?;
        let mut files = Vec::with_capacity(table.files.len());
        for file in &table.files {
            let (_, path) = place(&table.location, &file.path)?;
            let mut found = PartitionedFile::new(String::new(), file.bytes);
            found.object_meta.location = path;
            files.push(found);
        }
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let format =
            ParquetFormat::default().with_options(state.default_table_options().parquet.clone());
        let columns = TableSchema::from(Arc::clone(&table.columns));
        let scan = FileScanConfigBuilder::new(store, format.file_source(columns))
            .with_file_groups(groups)
            .with_statistics(self.statistics())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        format.create_physical_plan(state, scan).await
    }
}
