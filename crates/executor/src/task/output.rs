//! Where an attempt's rows go: into its final state if they are few, into the output store if not.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use paceline_exchange::{OutputStore, OutputWriter, StoreError};
use paceline_model::{ByteSize, ErrorClass, OutputId, OutputSummary, PartitionRange, QueryError};
use tokio::sync::{Mutex, OnceCell};

use super::inline::Collected;

/// The output of one attempt while it is being written, by all partitions at once.
#[derive(Debug)]
pub(super) struct TaskOutput {
    store: OutputStore,
    id: OutputId,
    schema: SchemaRef,
    partitions: PartitionRange,
    inline_limit: ByteSize,
    /// Once there is a writer, everything goes there.
    writer: OnceCell<OutputWriter>,
    /// Held while the writer is made, so that what was collected comes first.
    collected: Mutex<Collected>,
}

/// What is left of a finished attempt.
#[derive(Debug)]
pub(super) enum Left {
    /// An output in the store.
    Stored(OutputSummary),
    /// Everything, as an Arrow IPC stream; nothing in the store.
    Inline(OutputSummary, Bytes),
}

impl TaskOutput {
    /// An output up to `inline_limit` is only collected; with a limit of 0 none is.
    pub(super) fn open(
        store: &OutputStore,
        id: OutputId,
        schema: SchemaRef,
        partitions: PartitionRange,
        inline_limit: ByteSize,
    ) -> Result<Self, QueryError> {
        let writer = if inline_limit.0 == 0 {
            OnceCell::from(create(store, id, &schema, partitions)?)
        } else {
            OnceCell::new()
        };
        Ok(TaskOutput {
            store: store.clone(),
            id,
            schema,
            partitions,
            inline_limit,
            writer,
            collected: Mutex::default(),
        })
    }

    /// The columns of the output.
    pub(super) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Adds rows to a partition. One partition is written by one caller at a time.
    pub(super) async fn write(&self, partition: u32, batch: RecordBatch) -> Result<(), QueryError> {
        if let Some(writer) = self.writer.get() {
            return written(writer.write(partition, batch).await);
        }
        let mut collected = self.collected.lock().await;
        if self.writer.get().is_none() {
            let Err(batch) = collected.add(partition, batch, self.inline_limit) else {
                return Ok(());
            };
            let writer = create(&self.store, self.id, &self.schema, self.partitions)?;
            for (earlier, batch) in std::mem::take(&mut *collected).into_batches() {
                written(writer.write(earlier, batch).await)?;
            }
            written(writer.write(partition, batch).await)?;
            // Nobody else sets it: the lock is held.
            return self.writer.set(writer).map_err(|_| two_writers(self.id));
        }
        drop(collected);
        match self.writer.get() {
            Some(writer) => written(writer.write(partition, batch).await),
            None => Err(two_writers(self.id)),
        }
    }

    /// Commits the output, once all partitions are written.
    pub(super) async fn finish(self) -> Result<Left, QueryError> {
        if let Some(writer) = self.writer.into_inner() {
            return written(writer.finish().await).map(Left::Stored);
        }
        let collected = self.collected.into_inner();
        let summary = collected.summary(self.partitions);
        let bytes = collected.encode(&self.schema).map_err(|error| {
            let message = format!("cannot encode the result of {}: {error}", self.id);
            QueryError::new(ErrorClass::Bug, message)
        })?;
        Ok(Left::Inline(summary, bytes))
    }
}

fn create(
    store: &OutputStore,
    id: OutputId,
    schema: &SchemaRef,
    partitions: PartitionRange,
) -> Result<OutputWriter, QueryError> {
    written(store.create(id, schema.clone(), partitions))
}

fn written<T>(result: Result<T, StoreError>) -> Result<T, QueryError> {
    result.map_err(|error| error.to_query_error())
}

fn two_writers(id: OutputId) -> QueryError {
    QueryError::new(ErrorClass::Bug, format!("output {id} has two writers"))
}
