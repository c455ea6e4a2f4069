//! File formats whose errors name the file, when a table is created or planned, and which open all
//! files that they write. Those of JSON say whether a file is an array.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::{DataFusionError, GetExt, Result, Statistics};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory, FileMeta};
use datafusion::datasource::physical_plan::{FileScanConfig, FileSource, JsonSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::SessionState;
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::ExecutionPlan;
use object_store::{ObjectMeta, ObjectStore};

use crate::arrow_schema::file_schema;
use crate::file_scans::JsonArrays;
use crate::panics::caught_in;

/// The formats that tables may have.
const FORMATS: [&str; 4] = ["parquet", "csv", "json", "arrow"];

/// Makes the formats of a session name the files that they fail at.
///
/// # Errors
/// Never in practice: formats that are there may be replaced.
pub(crate) fn name_files(state: &mut SessionState) -> Result<()> {
    for format in FORMATS {
        if let Some(known) = state.get_file_format_factory(format) {
            state.register_file_format(Arc::new(NamedFactory(known)), true)?;
        }
    }
    Ok(())
}

#[derive(Debug)]
struct NamedFactory(Arc<dyn FileFormatFactory>);

impl GetExt for NamedFactory {
    fn get_ext(&self) -> String {
        self.0.get_ext()
    }
}

impl FileFormatFactory for NamedFactory {
    fn create(
        &self,
        state: &dyn Session,
        format_options: &HashMap<String, String>,
    ) -> Result<Arc<dyn FileFormat>> {
        Ok(Arc::new(NamedFormat(self.0.create(state, format_options)?)))
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        Arc::new(NamedFormat(self.0.default()))
    }
}

#[derive(Debug)]
struct NamedFormat(Arc<dyn FileFormat>);

impl NamedFormat {
    async fn schema(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        if self.0.get_ext() != "arrow" {
            return self.0.infer_schema(state, store, objects).await;
        }
        let mut schemas = Vec::with_capacity(objects.len());
        for object in objects {
            let schema = match file_schema(store, object).await? {
                Some(schema) => schema,
                None => {
                    let alone = std::slice::from_ref(object);
                    let inferred = self.0.infer_schema(state, store, alone).await?;
                    Arc::unwrap_or_clone(inferred)
                }
            };
            schemas.push(schema);
        }
        Ok(Arc::new(Schema::try_merge(schemas)?))
    }
}

fn about(file: &ObjectMeta, error: DataFusionError) -> DataFusionError {
    error.context(format!("reading {}", file.location))
}

#[async_trait]
impl FileFormat for NamedFormat {
    fn get_ext(&self) -> String {
        self.0.get_ext()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        self.0.get_ext_with_compression(compression)
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        self.0.compression_type()
    }

    async fn infer_schema(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        let error = match caught_in(self.schema(state, store, objects)).await {
            Ok(schema) => return Ok(schema),
            Err(error) => error,
        };
        // One of them it was.
        for object in objects {
            let alone = std::slice::from_ref(object);
            if let Err(error) = caught_in(self.schema(state, store, alone)).await {
                return Err(about(object, error));
            }
        }
        Err(error)
    }

    async fn infer_stats(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Statistics> {
        let found = self.0.infer_stats(state, store, table_schema, object);
        caught_in(found).await.map_err(|e| about(object, e))
    }

    async fn infer_ordering(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Option<LexOrdering>> {
        let found = self.0.infer_ordering(state, store, table_schema, object);
        caught_in(found).await.map_err(|e| about(object, e))
    }

    async fn infer_stats_and_ordering(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<FileMeta> {
        let found = self
            .0
            .infer_stats_and_ordering(state, store, table_schema, object);
        caught_in(found).await.map_err(|e| about(object, e))
    }

    async fn create_physical_plan(
        &self,
        state: &dyn Session,
        conf: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.create_physical_plan(state, conf).await
    }

    fn file_source(&self, table_schema: TableSchema) -> Arc<dyn FileSource> {
        let source = self.0.file_source(table_schema);
        let json = self.0.downcast_ref::<JsonFormat>();
        match source.downcast_ref::<JsonSource>() {
            Some(arrays) if json.is_some_and(|json| !json.is_newline_delimited()) => {
                Arc::new(JsonArrays::of(arrays))
            }
            _ => source,
        }
    }
}
