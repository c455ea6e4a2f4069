//! Cuts batches to the size of a message.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};

use crate::views::{held, shrunk, used};

/// Unused bytes below which compacting a column of views is not worth the copy.
const WASTE_BYTES: usize = 64 << 10;

/// The batch in pieces of about `target` bytes, in order. A batch that is small enough is handed
/// back as it is; one without rows is none.
///
/// Columns of views (`Utf8View`, `BinaryView`), and lists and structs of them, share the buffers they
/// point into with other batches, often with far larger ones, and would be sent with all of them; they
/// are compacted.
pub(crate) fn pieces(batch: RecordBatch, target: usize) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    if rows == 0 {
        return Vec::new();
    }
    let bytes: usize = batch.columns().iter().map(|c| used(&c.to_data())).sum();
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

fn compact(batch: RecordBatch) -> RecordBatch {
    let wasteful = |column: &ArrayRef| {
        let data = column.to_data();
        let held = held(&data);
        held > WASTE_BYTES && is_wasteful(held, used(&data))
    };
    let wasteful: Vec<bool> = batch.columns().iter().map(wasteful).collect();
    if !wasteful.contains(&true) {
        return batch;
    }
    let columns = batch.columns().iter().zip(wasteful);
    let columns = columns.map(|(column, wasteful)| match wasteful {
        true => shrunk(column),
        false => Ok(Arc::clone(column)),
    });
    // Only buffers changed, so the columns still fit the schema.
    let compact = columns.collect::<Result<Vec<_>, _>>();
    let compact = compact.and_then(|columns| RecordBatch::try_new(batch.schema(), columns));
    compact.unwrap_or(batch)
}

fn is_wasteful(held: usize, used: usize) -> bool {
    held > used.saturating_mul(2).saturating_add(WASTE_BYTES)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        AsArray, Int64Array, ListBuilder, StringViewArray, StringViewBuilder, StructArray,
    };
    use arrow::compute::concat_batches;
    use arrow::datatypes::Field;
    use arrow::ipc::writer::StreamWriter;

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

    fn held_by_words(batch: &RecordBatch) -> usize {
        let views = batch.column(1).as_string_view();
        views.data_buffers().iter().map(|b| b.len()).sum()
    }

    #[test]
    fn pieces_are_the_batch_again_and_none_is_large() {
        let whole = batch(100_000);
        let parts = pieces(whole.clone(), 1 << 20);
        assert!(parts.len() > 4, "{}", parts.len());
        assert!(parts.iter().all(|part| held_by_words(part) < 1 << 20));
        assert_eq!(concat_batches(&whole.schema(), &parts).unwrap(), whole);
    }

    #[test]
    fn a_few_rows_leave_a_large_buffer_behind() {
        let few = batch(100_000).slice(50_000, 3);
        assert!(held_by_words(&few) > 1 << 20);
        let parts = pieces(few.clone(), 1 << 20);
        assert_eq!(parts, [few]);
        assert!(held_by_words(&parts[0]) < 1024);
    }

    #[test]
    fn a_row_larger_than_a_piece_is_sent_whole() {
        assert_eq!(pieces(batch(3), 1).len(), 3);
        assert_eq!(pieces(batch(0), 1).len(), 0);
    }

    /// Bytes of the batches as a stream of Arrow.
    fn encoded(batches: &[RecordBatch]) -> usize {
        let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
        for batch in batches {
            writer.write(batch).unwrap();
        }
        writer.into_inner().unwrap().len()
    }

    #[test]
    fn words_within_lists_and_structs_are_sent_once() {
        let word = "a word that is repeated for as long as it takes".repeat(20);
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        for row in 0..100 {
            for at in 0..100 {
                lists.values().append_value(format!("{row} {at} {word}"));
            }
            lists.append(row % 7 > 0);
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        let field = Arc::new(Field::new("l", lists.data_type().clone(), true));
        let structs: ArrayRef = Arc::new(StructArray::from(vec![(field, Arc::clone(&lists))]));
        for column in [lists, structs] {
            let whole = RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap();
            let parts = pieces(whole.clone(), 1 << 20);
            assert!((8..=12).contains(&parts.len()), "{}", parts.len());
            let (sent, once) = (encoded(&parts), encoded(std::slice::from_ref(&whole)));
            assert!(once > 8 << 20, "{once}");
            assert!(sent < once * 3 / 2, "{sent} of {once}");
            assert_eq!(concat_batches(&whole.schema(), &parts).unwrap(), whole);
            // Nor is all of it measured where there is but a slice.
            assert_eq!(pieces(whole.slice(40, 5), 1 << 20).len(), 1);
        }
    }
}
