//! Cuts batches to the size of a message.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;

/// Unused bytes below which compacting a column of views is not worth the copy.
const WASTE_BYTES: usize = 64 << 10;

/// The batch in pieces of about `target` bytes, in order. A batch that is small enough is handed
/// back as it is; one without rows is none.
///
/// Columns of views (`Utf8View`, `BinaryView`) share the buffers they point into with other batches,
/// often with far larger ones, and would be sent with all of them; they are compacted.
pub(crate) fn pieces(batch: RecordBatch, target: usize) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    if rows == 0 {
        return Vec::new();
    }
    let bytes: usize = batch.columns().iter().map(bytes).sum();
    let count = bytes.div_ceil(target.max(1)).clamp(1, rows);
    if count == 1 {
        return vec![compact(batch)];
    }
    let rows_each = rows.div_ceil(count);
    (0..rows)
        .step_by(rows_each)
        .map(|start| compact(batch.slice(start, rows_each.min(rows - start))))
        .collect()
}

/// About how many bytes the column takes in a message once it is compact.
fn bytes(column: &ArrayRef) -> usize {
    let views = match column.data_type() {
        DataType::Utf8View => column.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => column.as_binary_view().total_buffer_bytes_used(),
        _ => 0,
    };
    let rest = column.to_data().get_slice_memory_size();
    // What cannot be measured exactly is measured too large, and makes smaller pieces.
    views + rest.unwrap_or_else(|_| column.get_array_memory_size())
}

fn compact(batch: RecordBatch) -> RecordBatch {
    let wasteful = |column: &ArrayRef| match column.data_type() {
        DataType::Utf8View => {
            let views = column.as_string_view();
            is_wasteful(
                views.data_buffers().iter().map(|b| b.len()).sum(),
                views.total_buffer_bytes_used(),
            )
        }
        DataType::BinaryView => {
            let views = column.as_binary_view();
            is_wasteful(
                views.data_buffers().iter().map(|b| b.len()).sum(),
                views.total_buffer_bytes_used(),
            )
        }
        _ => false,
    };
    if !batch.columns().iter().any(wasteful) {
        return batch;
    }
    let columns = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            _ if !wasteful(column) => Arc::clone(column),
            DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
            _ => Arc::new(column.as_binary_view().gc()) as ArrayRef,
        })
        .collect();
    // Only buffers changed, so the columns still fit the schema.
    RecordBatch::try_new(batch.schema(), columns).unwrap_or(batch)
}

fn is_wasteful(held: usize, used: usize) -> bool {
    held > used.saturating_mul(2).saturating_add(WASTE_BYTES)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};
    use arrow::compute::concat_batches;

    use super::*;

    fn batch(rows: i64) -> RecordBatch {
        let numbers = Int64Array::from_iter_values(0..rows);
        let words = (0..rows).map(|n| format!("a text of some length, numbered {n}"));
        let words = StringViewArray::from_iter_values(words);
        RecordBatch::try_from_iter([
            ("number", Arc::new(numbers) as ArrayRef),
            ("word", Arc::new(words) as ArrayRef),
        ])
        .unwrap()
    }

    fn held(batch: &RecordBatch) -> usize {
        let views = batch.column(1).as_string_view();
        views.data_buffers().iter().map(|b| b.len()).sum()
    }

    #[test]
    fn pieces_are_the_batch_again_and_none_is_large() {
        let whole = batch(100_000);
        let parts = pieces(whole.clone(), 1 << 20);
        assert!(parts.len() > 4, "{}", parts.len());
        assert!(parts.iter().all(|part| held(part) < 1 << 20));
        assert_eq!(concat_batches(&whole.schema(), &parts).unwrap(), whole);
    }

    #[test]
    fn a_few_rows_leave_a_large_buffer_behind() {
        let few = batch(100_000).slice(50_000, 3);
        assert!(held(&few) > 1 << 20);
        let parts = pieces(few.clone(), 1 << 20);
        assert_eq!(parts, [few]);
        assert!(held(&parts[0]) < 1024);
    }

    #[test]
    fn a_row_larger_than_a_piece_is_sent_whole() {
        assert_eq!(pieces(batch(3), 1).len(), 3);
        assert_eq!(pieces(batch(0), 1).len(), 0);
    }
}
