//! The operator that writes the rows of a stage into files. Its own rows are the list of those files.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_datafusion_err, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::buffered::BufWriter;
use paceline_model::OutputId;
use tokio::io::AsyncWriteExt;
use tokio_util::task::TaskTracker;

use crate::encoder::{Encoder, FileFormat};
use crate::write_names::{Names, place};

/// What is sent to an object store at a time.
const PIECE_BYTES: usize = 10 << 20;

/// The columns of a list of files: where each one lies below the location that was written to, its
/// rows and its length.
pub fn manifest_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("path", DataType::Utf8, false),
        Field::new("rows", DataType::UInt64, false),
        Field::new("bytes", DataType::UInt64, false),
    ]))
}

/// Where rows go, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileWrite {
    /// A URL: of a folder if it ends in `/`, else of the one file.
    pub(crate) location: String,
    pub(crate) names: Names,
    pub(crate) format: FileFormat,
    /// The columns as the files have them.
    pub(crate) columns: SchemaRef,
}

/// Writes each of its partitions into a file.
#[derive(Debug, Clone)]
pub(crate) struct WriteFilesExec {
    input: Arc<dyn ExecutionPlan>,
    write: FileWrite,
    /// The number of its first partition among those of the whole stage.
    first: u32,
    /// Files that are about to appear, whatever becomes of those who wait for them.
    appearing: TaskTracker,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl WriteFilesExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, write: FileWrite, first: u32) -> Self {
        let count = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(manifest_schema()),
            Partitioning::UnknownPartitioning(count),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        WriteFilesExec {
            input,
            write,
            first,
            appearing: TaskTracker::new(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    pub(crate) fn write(&self) -> &FileWrite {
        &self.write
    }

    /// The same over an input that begins so many partitions further on.
    pub(crate) fn restricted(&self, input: Arc<dyn ExecutionPlan>, further: u32) -> Self {
        WriteFilesExec::new(input, self.write.clone(), self.first + further)
    }

    /// Returns when no file will appear any more that a partition, ended or dropped, was about to
    /// complete.
    pub(crate) async fn come_to_rest(&self) {
        self.appearing.close();
        self.appearing.wait().await;
    }
}

impl DisplayAs for WriteFilesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (format, location) = (&self.write.format.kind, &self.write.location);
        write!(f, "WriteFilesExec: format={format}, location={location}")
    }
}

impl ExecutionPlan for WriteFilesExec {
    fn name(&self) -> &'static str {
        "WriteFilesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(self.restricted(input, 0))),
            _ => internal_err!("one plan's rows are written into files"),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mode = ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(mode))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let id: OutputId = context
            .task_id()
            .unwrap_or_default()
            .parse()
            .map_err(|e| internal_datafusion_err!("a write does not know whose it is: {e}"))?;
        let number = self.first + u32::try_from(partition).unwrap_or(u32::MAX);
        let rows = self.input.execute(partition, Arc::clone(&context))?;
        let file = OneFile {
            write: self.write.clone(),
            name: self.write.names.of(&id, number, &self.write.format),
            written: MetricBuilder::new(&self.metrics).counter("written_bytes", partition),
            appearing: self.appearing.clone(),
            context,
        };
        let manifest = stream::once(file.fill(rows)).try_filter_map(|row| async move { Ok(row) });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            manifest_schema(),
            manifest.boxed(),
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The file of one partition. It appears whole or not at all.
struct OneFile {
    write: FileWrite,
    name: String,
    written: Count,
    appearing: TaskTracker,
    context: Arc<TaskContext>,
}

impl OneFile {
    /// Writes all rows, and says so; nothing if there was no row and nobody expects a file then.
    async fn fill(self, mut rows: SendableRecordBatchStream) -> Result<Option<RecordBatch>> {
        let mut first = None;
        while first.is_none() {
            match rows.try_next().await? {
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => first = Some(batch),
                None if self.write.names == Names::Whole => break,
                None => return Ok(None),
            }
        }
        let (url, path) = place(&self.write.location, &self.name)?;
        let store = self.context.runtime_env().object_store(&url)?;
        let mut sink = BufWriter::with_capacity(store, path, PIECE_BYTES);
        let filled = self.encode(first, rows, &mut sink).await;
        let ended = match filled {
            Ok(count) => {
                // Once that has begun, nobody can tell whether it happens: so it is seen through.
                let shut = self.appearing.spawn(async move { sink.shutdown().await });
                match shut.await {
                    Ok(shut) => shut.map(|()| count).map_err(DataFusionError::IoError),
                    Err(join) => Err(DataFusionError::ExecutionJoin(Box::new(join))),
                }
            }
            Err(error) => {
                // What was sent of it is nothing without its end.
                let _ = sink.abort().await;
                return Err(error);
            }
        };
        let (rows, bytes) = ended.map_err(|e| self.named(e))?;
        let columns: [ArrayRef; 3] = [
            Arc::new(StringArray::from_iter_values([&self.name])),
            Arc::new(UInt64Array::from_iter_values([rows])),
            Arc::new(UInt64Array::from_iter_values([bytes])),
        ];
        Ok(Some(RecordBatch::try_new(
            manifest_schema(),
            columns.into(),
        )?))
    }

    async fn encode(
        &self,
        mut next: Option<RecordBatch>,
        mut rows: SendableRecordBatchStream,
        sink: &mut BufWriter,
    ) -> Result<(u64, u64)> {
        let pool = self.context.memory_pool();
        let reservation = MemoryConsumer::new("WriteFilesExec").register(pool);
        let mut encoder = Encoder::new(&self.write.format, &self.write.columns)?;
        let (mut count, mut length) = (0, 0);
        while let Some(batch) = next {
            // The names and the nullability of columns are those of the table.
            let columns = Arc::clone(&self.write.columns);
            let batch = RecordBatch::try_new(columns, batch.columns().to_vec())?;
            encoder.write(&batch)?;
            count += batch.num_rows() as u64;
            length += self.send(encoder.take(), sink).await?;
            reservation.try_resize(encoder.memory())?;
            next = rows.try_next().await?;
        }
        length += self.send(encoder.finish()?, sink).await?;
        Ok((count, length))
    }

    async fn send(&self, bytes: Vec<u8>, sink: &mut BufWriter) -> Result<u64> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let length = bytes.len();
        let sent = sink.put(bytes.into()).await;
        sent.map_err(|e| self.named(DataFusionError::ObjectStore(Box::new(e))))?;
        self.written.add(length);
        Ok(length as u64)
    }

    fn named(&self, error: DataFusionError) -> DataFusionError {
        error.context(format!("cannot write {}{}", self.write.location, self.name))
    }
}
