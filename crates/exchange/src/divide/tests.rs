use std::collections::BTreeMap;

use arrow::array::{DictionaryArray, Int64Array, StringArray, StringViewArray, types::Int8Type};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{Field, Int64Type, Schema};

use super::*;
use crate::frame::compact;

fn number(row: usize) -> i64 {
    i64::try_from(row).unwrap()
}

/// Rows that say their number in columns of several kinds.
fn rows(numbers: std::ops::Range<usize>) -> RecordBatch {
    let text = |row: usize| format!("a text that a view does not hold by itself {row}");
    let columns: [(&str, ArrayRef); 4] = [
        (
            "number",
            Arc::new(Int64Array::from_iter_values(numbers.clone().map(number))),
        ),
        (
            "odd",
            Arc::new(BooleanArray::from_iter(
                numbers
                    .clone()
                    .map(|row| (row % 5 > 0).then_some(row % 2 == 1)),
            )),
        ),
        (
            "text",
            Arc::new(StringArray::from_iter_values(numbers.clone().map(text))),
        ),
        (
            "view",
            Arc::new(StringViewArray::from_iter_values(numbers.map(text))),
        ),
    ];
    let fields = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.map(|(_, column)| column).to_vec()).unwrap()
}

fn numbers(batch: &RecordBatch) -> &[i64] {
    batch.column(0).as_primitive::<Int64Type>().values()
}

/// Only numbers, so that there are few bytes.
fn slim(numbers: std::ops::Range<usize>) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.map(number)));
    RecordBatch::try_from_iter([("number", column)]).unwrap()
}

/// Some partition for each row.
fn spread(rows: std::ops::Range<usize>, partitions: u32) -> Vec<u32> {
    let hash = |row: usize| (row as u32).wrapping_mul(0x9E37_79B1) >> 7;
    rows.map(|row| hash(row) % partitions).collect()
}

fn addresses(batch: &RecordBatch) -> Vec<usize> {
    let columns = batch.columns().iter().map(|column| column.to_data());
    let buffers = columns.flat_map(|data| data.buffers().to_vec());
    buffers.map(|buffer| buffer.as_ptr() as usize).collect()
}

#[test]
fn pieces_are_kept_as_they_are_and_share_nothing() {
    for batches in [1, 3] {
        let mut divider = Divider::new(rows(0..0).schema(), 16);
        let mut pieces = Vec::new();
        for batch in 0..batches {
            let numbers = batch * 2000..batch * 2000 + 2000;
            let to = spread(numbers.clone(), 16);
            pieces.extend(divider.add(rows(numbers), &to).unwrap());
        }
        assert!(pieces.is_empty(), "they were to be gathered");
        pieces.extend(divider.finish());
        assert_eq!(pieces.len(), 16);
        let mut all = Vec::new();
        for piece in pieces {
            let (_, piece) = piece.unwrap();
            let before = addresses(&piece);
            let measured = compact(piece).unwrap();
            assert_eq!(addresses(&measured.batch), before, "it was copied again");
            let most = 2 * measured.used;
            assert!(measured.retained <= most, "{} bytes", measured.retained);
            all.extend(before);
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "pieces share buffers");
    }
}

#[test]
fn rows_stay_in_order_however_they_come() {
    let sizes = [1, 700, 0, 8192, 8192, 3, 40_000, 1, 1, 60_000, 8192];
    for partitions in [1, 7, 1000] {
        let mut divider = Divider::new(rows(0..0).schema(), partitions);
        let mut pieces = Vec::new();
        let mut begin = 0;
        let mut expected: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for size in sizes {
            let numbers = begin..begin + size;
            begin += size;
            let to = spread(numbers.clone(), partitions);
            for (row, partition) in numbers.clone().zip(&to) {
                expected.entry(*partition).or_default().push(row);
            }
            pieces.extend(divider.add(rows(numbers), &to).unwrap());
        }
        pieces.extend(divider.finish());
        let mut divided: BTreeMap<u32, Vec<RecordBatch>> = BTreeMap::new();
        for piece in pieces {
            let (partition, piece) = piece.unwrap();
            assert!(piece.num_rows() > 0);
            divided.entry(partition).or_default().push(piece);
        }
        assert!(divided.keys().eq(expected.keys()));
        let whole = rows(0..begin);
        for (pieces, expected) in divided.values().zip(expected.values()) {
            let pieces = concat_batches(&whole.schema(), pieces).unwrap();
            let expected: UInt32Array = expected.iter().map(|row| Some(*row as u32)).collect();
            for (column, whole) in pieces.columns().iter().zip(whole.columns()) {
                assert_eq!(column, &take(whole, &expected, None).unwrap());
            }
        }
    }
}

/// How many batches are gathered before anything comes.
fn gathered(mut batch: impl FnMut(usize) -> RecordBatch) -> usize {
    let mut divider = Divider::new(batch(0).schema(), 4);
    for count in 0.. {
        let batch = batch(count);
        let to = spread(0..batch.num_rows(), 4);
        if divider.add(batch, &to).unwrap().count() > 0 {
            return count + 1;
        }
    }
    unreachable!("something comes some time");
}

#[test]
fn no_more_is_gathered_than_is_worth_while() {
    assert_eq!(gathered(|_| slim(0..8192)), 4, "by their rows");
    assert_eq!(gathered(|_| rows(0..5000)), 2, "by their bytes");
    assert_eq!(gathered(|_| slim(0..1)), 64, "by how many they are");
    assert_eq!(gathered(|_| slim(0..200_000)), 1, "a large one by itself");
    // Slices of something large that lives anyway, and such as keep something large alive each.
    let large = slim(0..1_000_000);
    let slices = gathered(|count| large.slice(count * 8192, 8192));
    assert_eq!(slices, 4);
    assert_eq!(gathered(|_| slim(0..1_000_000).slice(7, 10)), 2);
}

#[test]
fn a_large_batch_does_not_wait_and_comes_after_what_was_gathered() {
    let mut divider = Divider::new(slim(0..0).schema(), 1);
    assert_eq!(divider.add(slim(0..10), &[0; 10]).unwrap().count(), 0);
    let large = divider.add(slim(10..200_000), &[0; 199_990]).unwrap();
    let read: Vec<_> = large
        .flat_map(|piece| numbers(&piece.unwrap().1).to_vec())
        .collect();
    assert!(read.into_iter().eq(0..200_000));
    assert_eq!(divider.finish().count(), 0);
}

#[test]
fn dictionaries_that_do_not_fit_together_are_divided_one_by_one() {
    // 100 values each: any two exceed what 8-bit keys can tell apart.
    let part = |from: i32| {
        let values: Vec<_> = (from..from + 100).map(|i| format!("value {i}")).collect();
        let values: DictionaryArray<Int8Type> = values.iter().map(|v| Some(v.as_str())).collect();
        RecordBatch::try_from_iter([("d", Arc::new(values) as ArrayRef)]).unwrap()
    };
    let mut divider = Divider::new(part(0).schema(), 2);
    let to: Vec<u32> = (0..100).map(|row| row % 2).collect();
    for from in [0, 100, 200] {
        let pieces = divider.add(part(from), &to).unwrap();
        let pieces: Vec<_> = pieces.map(Result::unwrap).collect();
        assert_eq!(pieces.len(), 2);
        for (partition, piece) in pieces {
            let texts = cast(piece.column(0), &DataType::Utf8).unwrap();
            let texts: Vec<_> = texts.as_string::<i32>().iter().flatten().collect();
            let expected = (0..50).map(|i| format!("value {}", from + 2 * i + partition as i32));
            assert_eq!(texts, expected.collect::<Vec<_>>());
        }
    }
}

#[test]
fn rows_without_columns_are_divided_too() {
    let schema = Arc::new(Schema::empty());
    let options = RecordBatchOptions::new().with_row_count(Some(5));
    let five = RecordBatch::try_new_with_options(Arc::clone(&schema), vec![], &options).unwrap();
    let mut divider = Divider::new(schema, 3);
    for _ in 0..2 {
        let pieces = divider.add(five.clone(), &[0, 2, 2, 0, 2]).unwrap();
        assert_eq!(pieces.count(), 0);
    }
    let counts = divider.finish().map(|piece| {
        let (partition, rows) = piece.unwrap();
        (partition, rows.num_rows())
    });
    assert_eq!(counts.collect::<Vec<_>>(), [(0, 4), (2, 6)]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut divider = Divider::new(slim(0..0).schema(), 3);
    for to in [&[0, 1][..], &[0, 1, 2, 0], &[0, 1, 3]] {
        let refused = divider.add(slim(0..3), to).unwrap_err().to_string();
        assert!(refused.contains("3 rows cannot be divided"), "{refused}");
    }
    assert!(divider.add(rows(0..3), &[0, 1, 2]).is_err());
}
