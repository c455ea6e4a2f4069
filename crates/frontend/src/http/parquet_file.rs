//! A result as one Parquet file, which leaves row group by row group.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

/// About how many bytes of a row group are gathered in memory before it leaves.
const ROW_GROUP_BYTES: usize = 8 << 20;

/// A file that is being written. It ends in its footer, so that one that broke off is no file.
pub(super) struct ParquetFile {
    writer: ArrowWriter<Vec<u8>>,
}

impl ParquetFile {
    pub(super) fn begin(schema: SchemaRef) -> Result<Self, ArrowError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
        Ok(ParquetFile { writer })
    }

    /// Takes in rows. What comes out is nothing, most of the time.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        self.writer.write(batch)?;
        if self.writer.in_progress_size() >= ROW_GROUP_BYTES {
            self.writer.flush()?;
        }
        Ok(self.take())
    }

    pub(super) fn finish(&mut self) -> Result<Vec<u8>, ArrowError> {
        self.writer.finish()?;
        Ok(self.take())
    }

    /// What was written since the last time. The writer counts its offsets by itself.
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.inner_mut())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray};
    use arrow::compute::concat_batches;
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn batch(first: i64, rows: i64) -> RecordBatch {
        let numbers = first..first + rows;
        // Multiplied, so that they do not compress away.
        let scattered = numbers
            .clone()
            .map(|n| n.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let words = numbers.map(|n| format!("a text of some length, numbered {n}"));
        RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from_iter_values(scattered)) as _),
            ("w", Arc::new(StringViewArray::from_iter_values(words)) as _),
        ])
        .unwrap()
    }

    #[test]
    fn a_file_in_many_pieces_is_a_whole_file() {
        let mut file = ParquetFile::begin(batch(0, 0).schema()).unwrap();
        let mut bytes = Vec::new();
        let mut largest = 0;
        for part in 0..100 {
            let piece = file.write(&batch(part * 10_000, 10_000)).unwrap();
            largest = largest.max(piece.len());
            bytes.extend(piece);
        }
        assert!(!bytes.is_empty(), "nothing leaves before the end");
        assert!(largest < 2 * ROW_GROUP_BYTES, "{largest}");
        bytes.extend(file.finish().unwrap());

        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
        assert!(reader.metadata().num_row_groups() > 1);
        let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        let all = concat_batches(&batches[0].schema(), &batches).unwrap();
        assert_eq!(all, batch(0, 1_000_000));
    }

    #[test]
    fn without_rows_and_without_columns_it_is_a_file() {
        for batch in [
            batch(0, 0),
            RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())),
        ] {
            let mut file = ParquetFile::begin(batch.schema()).unwrap();
            let mut bytes = file.write(&batch).unwrap();
            bytes.extend(file.finish().unwrap());
            let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
            assert_eq!(reader.schema().fields(), batch.schema().fields());
            assert_eq!(reader.build().unwrap().count(), 0);
        }
    }
}
