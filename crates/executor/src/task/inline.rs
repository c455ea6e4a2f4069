//! Small outputs that travel inside the final state instead of lying in the store.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use paceline_exchange::trimmed;
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
        // What is sent is all that the arrays hold, of other rows as well.
        let Ok((rows, bytes)) = trimmed(&batch) else {
            return Err(batch);
        };
        if self.bytes + bytes > limit.0 {
            return Err(batch);
        }
        self.bytes += bytes;
        self.rows += rows.num_rows() as u64;
        *self.partition_bytes.entry(partition).or_default() += bytes;
        self.batches.entry(partition).or_default().push(rows);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, Int64Array, ListBuilder, RecordBatchOptions, StringViewArray, StringViewBuilder,
    };
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

    /// A text of 100 bytes.
    fn text(n: usize) -> String {
        format!("{n:0>100}")
    }

    #[test]
    fn the_texts_that_views_point_at_are_counted() {
        let column: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..10).map(text)));
        let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
        let mut collected = Collected::default();
        assert!(collected.add(0, batch.clone(), ByteSize(1_000)).is_err());
        collected.add(0, batch, ByteSize(2_000)).unwrap();
        assert_eq!(collected.summary(PartitionRange::new(0, 1)).bytes, 1_160);
    }

    #[test]
    fn a_few_rows_of_a_large_array_of_views_are_small() {
        let plain: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..10_000).map(text)));
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        for n in 0..10_000 {
            lists.values().append_value(text(n));
            lists.append(true);
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        for column in [plain, lists] {
            let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
            let mut collected = Collected::default();
            let few = batch.slice(7_000, 2);
            collected.add(0, few.clone(), ByteSize(1_000)).unwrap();
            let bytes = collected.encode(&batch.schema()).unwrap();
            assert!(bytes.len() < 2_000, "{}", bytes.len());
            assert_eq!(decode(&bytes), [few]);
        }
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
