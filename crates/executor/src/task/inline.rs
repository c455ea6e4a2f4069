//! Small outputs that travel inside the final state instead of lying in the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use paceline_model::{ByteSize, OutputSummary, PartitionRange};

/// The batches of an output that may yet turn out to be small.
#[derive(Debug, Default)]
pub(super) struct Collected {
    batches: BTreeMap<u32, Vec<RecordBatch>>,
    partition_bytes: BTreeMap<u32, u64>,
    rows: u64,
    bytes: u64,
}

impl Collected {
    /// Adds a batch, if the output stays within `limit` with it.
    pub(super) fn add(
        &mut self,
        partition: u32,
        batch: RecordBatch,
        limit: ByteSize,
    ) -> Result<(), RecordBatch> {
        if self.bytes >= limit.0 {
            return Err(batch);
        }
        let Ok(batch) = without_shared_views(&batch) else {
            return Err(batch);
        };
        let bytes = slice_bytes(&batch);
        if self.bytes + bytes > limit.0 {
            return Err(batch);
        }
        self.bytes += bytes;
        self.rows += batch.num_rows() as u64;
        *self.partition_bytes.entry(partition).or_default() += bytes;
        self.batches.entry(partition).or_default().push(batch);
        Ok(())
    }

    /// All batches, partition by partition.
    pub(super) fn into_batches(self) -> impl Iterator<Item = (u32, RecordBatch)> {
        self.batches
            .into_iter()
            .flat_map(|(partition, batches)| batches.into_iter().map(move |b| (partition, b)))
    }

    pub(super) fn summary(&self, partitions: PartitionRange) -> OutputSummary {
        let bytes_of = |partition| self.partition_bytes.get(&partition).copied();
        OutputSummary {
            rows: self.rows,
            bytes: self.bytes,
            partition_bytes: partitions
                .iter()
                .map(|partition| bytes_of(partition).unwrap_or(0))
                .collect(),
            disk_bytes: 0,
        }
    }

    /// The output as an Arrow IPC stream, in the order of the partitions.
    pub(super) fn encode(self, schema: &SchemaRef) -> Result<Bytes, ArrowError> {
        let capacity = usize::try_from(self.bytes).unwrap_or(0) + 1024;
        let mut writer = StreamWriter::try_new(Vec::with_capacity(capacity), schema)?;
        for (_, batch) in self.into_batches() {
            writer.write(&batch)?;
        }
        writer.into_inner().map(Bytes::from)
    }
}

/// Bytes of a batch's rows, without those of parents that it is a slice of.
pub(super) fn slice_bytes(batch: &RecordBatch) -> u64 {
    batch
        .columns()
        .iter()
        .map(|column| {
            column
                .to_data()
                .get_slice_memory_size()
                .unwrap_or_else(|_| column.get_array_memory_size()) as u64
        })
        .sum()
}

/// An array of views keeps, and would send, every buffer that any of its ancestors had.
fn without_shared_views(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(compact).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options)
}

fn compact(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => column.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};
    use arrow::datatypes::Schema;
    use arrow::ipc::reader::StreamReader;

    use super::*;

    fn numbers(values: impl IntoIterator<Item = i64>) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    fn decode(bytes: &Bytes) -> Vec<RecordBatch> {
        StreamReader::try_new(bytes.as_ref(), None)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn partitions_come_in_order_whatever_came_first() {
        let mut collected = Collected::default();
        let limit = ByteSize::mib(1);
        for (partition, value) in [(5, 50), (4, 40), (5, 51)] {
            collected.add(partition, numbers([value]), limit).unwrap();
        }
        let summary = collected.summary(PartitionRange::new(3, 3));
        assert_eq!(summary.rows, 3);
        assert_eq!(summary.partition_bytes, [0, 8, 16]);
        let schema = numbers([]).schema();
        let batches = decode(&collected.encode(&schema).unwrap());
        assert_eq!(batches, [numbers([40]), numbers([50]), numbers([51])]);
    }

    #[test]
    fn what_is_too_large_comes_back() {
        let mut collected = Collected::default();
        collected.add(0, numbers(0..10), ByteSize(100)).unwrap();
        let back = collected.add(0, numbers(0..10), ByteSize(100)).unwrap_err();
        assert_eq!(back, numbers(0..10));
        assert_eq!(collected.into_batches().count(), 1);
    }

    #[test]
    fn a_few_rows_of_a_large_array_of_views_are_small() {
        let text = |n| format!("{n:0>100}");
        let column: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..10_000).map(text)));
        let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
        let mut collected = Collected::default();
        let few = batch.slice(7_000, 2);
        collected.add(0, few.clone(), ByteSize(1_000)).unwrap();
        let bytes = collected.encode(&batch.schema()).unwrap();
        assert!(bytes.len() < 2_000, "{}", bytes.len());
        assert_eq!(decode(&bytes), [few]);
    }

    #[test]
    fn rows_without_columns_are_still_counted() {
        let schema = Arc::new(Schema::empty());
        let options = RecordBatchOptions::new().with_row_count(Some(7));
        let batch = RecordBatch::try_new_with_options(schema.clone(), vec![], &options).unwrap();
        let mut collected = Collected::default();
        collected.add(0, batch, ByteSize(10)).unwrap();
        let batches = decode(&collected.encode(&schema).unwrap());
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 7);
    }
}
