//! Scans whose errors name the file.
//!
//! DataFusion says what is wrong with a file but not with which one. A task reads many.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::physical_plan::{
    FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};
use datafusion_datasource::PartitionedFile;
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::ObjectStore;

use crate::panics::{caught, caught_among, caught_in};
use crate::scan::files;

/// Makes all scans of a plan name the files that they fail at. For a plan that is about to run:
/// nothing can be pushed into its scans any more.
pub(crate) fn named_files(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(files) = files(&node) else {
            return Ok(Transformed::no(node));
        };
        let source = NamedSource(Arc::clone(files.file_source()));
        let named = FileScanConfigBuilder::from(files.clone())
            .with_source(Arc::new(source))
            .build();
        Ok(Transformed::yes(
            DataSourceExec::from_data_source(named) as Arc<dyn ExecutionPlan>
        ))
    })
    .data()
}

/// A source that does what another one does.
struct NamedSource(Arc<dyn FileSource>);

impl FileSource for NamedSource {
    fn create_file_opener(
        &self,
        object_store: Arc<dyn ObjectStore>,
        base_config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let source = &self.0;
        source.create_file_opener(object_store, base_config, partition)
    }

    fn create_morselizer(
        &self,
        object_store: Arc<dyn ObjectStore>,
        base_config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let source = &self.0;
        Ok(Box::new(Files {
            inner: source.create_morselizer(object_store, base_config, partition)?,
            store: base_config.object_store_url.to_string(),
        }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.0.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(NamedSource(self.0.with_batch_size(batch_size)))
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.0.filter()
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

    fn fmt_extra(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_extra(t, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.0.supports_repartitioning()
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.0.reorder_files(files)
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.0.apply_expressions(f)
    }
}

fn about(file: &Arc<str>, error: DataFusionError) -> DataFusionError {
    error.context(format!("reading {file}"))
}

#[derive(Debug)]
struct Files {
    inner: Box<dyn Morselizer>,
    store: String,
}

impl Morselizer for Files {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let name: Arc<str> = format!("{}{}", self.store, file.object_meta.location).into();
        match caught(|| self.inner.plan_file(file)) {
            Ok(inner) => Ok(Box::new(File { inner, name })),
            Err(error) => Err(about(&name, error)),
        }
    }
}

#[derive(Debug)]
struct File {
    inner: Box<dyn MorselPlanner>,
    name: Arc<str>,
}

impl MorselPlanner for File {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let File { inner, name } = *self;
        let planned = caught(|| inner.plan());
        let Some(mut plan) = planned.map_err(|e| about(&name, e))? else {
            return Ok(None);
        };
        let morsels = plan.take_morsels().into_iter();
        let morsels = morsels.map(|inner| {
            let name = Arc::clone(&name);
            Box::new(Part { inner, name }) as Box<dyn Morsel>
        });
        let planners = plan.take_ready_planners().into_iter();
        let planners = planners.map(|inner| {
            let name = Arc::clone(&name);
            Box::new(File { inner, name }) as Box<dyn MorselPlanner>
        });
        let mut named = MorselPlan::new()
            .with_morsels(morsels.collect())
            .with_planners(planners.collect());
        if let Some(pending) = plan.take_pending_planner() {
            named.set_pending_planner(async move {
                match caught_in(pending.into_future()).await {
                    Ok(inner) => Ok(Box::new(File { inner, name }) as Box<dyn MorselPlanner>),
                    Err(error) => Err(about(&name, error)),
                }
            });
        }
        Ok(Some(named))
    }
}

#[derive(Debug)]
struct Part {
    inner: Box<dyn Morsel>,
    name: Arc<str>,
}

impl Morsel for Part {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let name = self.name;
        let rows = caught_among(self.inner.into_stream());
        rows.map(move |batch| batch.map_err(|e| about(&name, e)))
            .boxed()
    }
}
