//! Batches that hold on to no more memory than they use.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, MutableArrayData, RecordBatch, RecordBatchOptions,
    UInt64Array, make_array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::measure::{overhead, retained_by, used, views_overlap};

/// Memory that a batch may keep alive beyond twice what it uses before it is copied.
const SLACK: u64 = 4096;

/// More separate buffers than this make a column of views slow to handle.
const MANY_BUFFERS: usize = 8;

/// A batch and what it costs.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) batch: RecordBatch,
    /// Bytes of its rows.
    pub(crate) used: u64,
    /// Bytes of memory that are freed with it.
    pub(crate) retained: u64,
}

/// Measures a batch, and copies it if it is a small slice of something large. A slice keeps all of
/// its parent alive, a column of views all buffers that any of its ancestors had; unless they are
/// copied, neither can the store account for its memory, nor does spilling free any, and a frame
/// of views would carry all those buffers.
pub(crate) fn compact(batch: RecordBatch) -> Result<Measured, ArrowError> {
    let data: Vec<ArrayData> = batch.columns().iter().map(|c| c.to_data()).collect();
    let used_bytes = data.iter().map(used).sum::<u64>();
    let retained = retained_by(&data);
    let scattered = data.iter().any(is_scattered);
    if retained <= 2 * used_bytes + SLACK && !scattered {
        return Ok(Measured {
            used: used_bytes,
            retained: retained + overhead(&batch),
            batch,
        });
    }
    let columns = data.into_iter().map(copy).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = RecordBatch::try_new_with_options(batch.schema(), columns, &options)?;
    let data: Vec<ArrayData> = batch.columns().iter().map(|c| c.to_data()).collect();
    Ok(Measured {
        used: data.iter().map(used).sum(),
        retained: retained_by(&data) + overhead(&batch),
        batch,
    })
}

fn is_scattered(data: &ArrayData) -> bool {
    is_view(data.data_type()) && data.buffers().len() > MANY_BUFFERS + 1
}

fn is_view(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::BinaryView)
}

fn copy(data: ArrayData) -> Result<ArrayRef, ArrowError> {
    let kept = retained_by([&data]);
    if kept <= 2 * used(&data) && !is_scattered(&data) {
        return Ok(make_array(data));
    }
    own(data).map(make_array)
}

/// The rows by themselves: a slice of lists has the values of all rows, as long as it is not copied.
fn own(data: ArrayData) -> Result<ArrayData, ArrowError> {
    if is_view(data.data_type()) {
        return shrink(data);
    }
    let length = data.len();
    let mut copied = MutableArrayData::new(vec![&data], false, length);
    copied.try_extend(0, 0, length)?;
    let copied = copied.freeze();
    shrink(copied)
}

/// Replaces what a plain copy shares with its source: the bytes of views, and dictionaries. Views that
/// share bytes among themselves go on doing so.
fn shrink(data: ArrayData) -> Result<ArrayData, ArrowError> {
    if is_view(data.data_type()) && views_overlap(&data) {
        return Ok(data);
    }
    match data.data_type() {
        DataType::Utf8View => Ok(make_array(data).as_string_view().gc().to_data()),
        DataType::BinaryView => Ok(make_array(data).as_binary_view().gc().to_data()),
        DataType::Dictionary(_, _) => prune(data),
        _ if data.child_data().is_empty() => Ok(data),
        _ => {
            let children = data.child_data().iter().cloned().map(shrink);
            let children = children.collect::<Result<Vec<_>, _>>()?;
            data.into_builder().child_data(children).build()
        }
    }
}

/// A dictionary of more values than it has rows, with only those that the rows use.
fn prune(data: ArrayData) -> Result<ArrayData, ArrowError> {
    let array = make_array(data.clone());
    let Some(dictionary) = array.as_any_dictionary_opt() else {
        return Ok(data);
    };
    if dictionary.values().len() <= data.len() {
        return Ok(data);
    }
    // Those of nulls are some of the others.
    let keys = dictionary.normalized_keys();
    let mut kept = keys.clone();
    kept.sort_unstable();
    kept.dedup();
    let places = keys.iter().map(|key| kept.binary_search(key).unwrap_or(0));
    let places: Vec<u64> = places.map(|place| place as u64).collect();
    let places = UInt64Array::new(places.into(), dictionary.keys().nulls().cloned());
    let kept = UInt64Array::from_iter_values(kept.into_iter().map(|key| key as u64));
    let values = shrink(take(dictionary.values(), &kept, None)?.to_data())?;
    let keys = cast(&places, dictionary.keys().data_type())?.to_data();
    let keys = keys.into_builder().data_type(data.data_type().clone());
    keys.child_data(vec![values]).build()
}

/// The same rows, such that encoding them costs about what they need; and how many bytes that is. What
/// views, lists of them and dictionaries have of other rows is left out.
///
/// # Errors
/// If Arrow cannot copy them.
pub fn trimmed(batch: &RecordBatch) -> Result<(RecordBatch, u64), ArrowError> {
    let batch = with_columns(batch, |column| copy(column.to_data()))?;
    let columns = batch.columns().iter();
    let bytes = columns.map(|column| used(&column.to_data())).sum();
    Ok((batch, bytes))
}

/// The rows `offset..offset + length`, such that encoding them costs no more than their share:
/// views are copied, as are lists of them and dictionaries of more values than rows, everything else is
/// not.
pub(crate) fn slice(
    batch: &RecordBatch,
    offset: usize,
    length: usize,
) -> Result<RecordBatch, ArrowError> {
    with_columns(&batch.slice(offset, length), |column| {
        let data = column.to_data();
        let slice = match data.data_type() {
            DataType::Dictionary(_, _) => shrink(data),
            _ => own(data),
        };
        slice.map(make_array)
    })
}

/// The batch with other columns in the place of those that may share much with other rows.
fn with_columns(
    batch: &RecordBatch,
    other: impl Fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(|column| {
        if has_views_or_values(column.data_type()) {
            other(column)
        } else {
            Ok(Arc::clone(column))
        }
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options)
}

fn has_views_or_values(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8View | DataType::BinaryView | DataType::Dictionary(_, _) => true,
        DataType::Struct(fields) => fields.iter().any(|f| has_views_or_values(f.data_type())),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::Map(field, _)
        | DataType::FixedSizeList(field, _) => has_views_or_values(field.data_type()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BooleanArray, DictionaryArray, Int64Array, ListArray, ListBuilder, StringViewArray,
        StringViewBuilder, UInt16Array, types::UInt16Type,
    };

    fn batch(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("c", column)]).unwrap()
    }

    #[test]
    fn a_whole_batch_is_passed_on_as_it_is() {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..8192));
        let address = column.to_data().buffers()[0].as_ptr();
        let measured = compact(batch(column)).unwrap();
        assert_eq!(measured.used, 8192 * 8);
        assert!(measured.retained >= measured.used);
        let kept = measured.batch.column(0).to_data().buffers()[0].as_ptr();
        assert_eq!(kept, address);
    }

    #[test]
    fn a_small_slice_lets_go_of_its_parent() {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000_000));
        let measured = compact(batch(column).slice(500_000, 100)).unwrap();
        assert_eq!(measured.used, 800);
        assert!(measured.retained < 4096, "{}", measured.retained);
        let values = measured.batch.column(0);
        assert_eq!(
            values.as_ref(),
            &Int64Array::from_iter_values(500_000..500_100)
        );
    }

    #[test]
    fn a_dictionary_keeps_only_the_values_that_its_rows_use() {
        // Also of values that cannot be hashed, and of as many as its keys can tell apart.
        let texts = (0..=65_535).map(|i| format!("value {i}"));
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        let flags: ArrayRef = Arc::new(BooleanArray::from_iter((0..=65_535).map(|i| Some(i > 9))));
        let keys = UInt16Array::from(vec![Some(65_535), None, Some(3), Some(65_535)]);
        for values in [texts, flags] {
            let all = DictionaryArray::<UInt16Type>::new(keys.clone(), values);
            let all: ArrayRef = Arc::new(all);
            let measured = compact(batch(Arc::clone(&all))).unwrap();
            assert!(measured.used < 256, "{}", measured.used);
            let column = measured.batch.column(0);
            assert_eq!(column, &all);
            // The null has one as well.
            assert_eq!(column.as_dictionary::<UInt16Type>().values().len(), 3);
        }
    }

    #[test]
    fn views_let_go_of_buffers_they_do_not_use() {
        let text = |i: i32| format!("a text that is too long to be held in a view {i}");
        let all = StringViewArray::from_iter_values((0..10_000).map(text));
        let taken = arrow::compute::take(&all, &Int64Array::from(vec![3, 9000]), None).unwrap();
        let measured = compact(batch(taken)).unwrap();
        assert!(measured.retained < 4096, "{}", measured.retained);
        let values = measured.batch.column(0).as_string_view();
        assert_eq!(values.value(1), text(9000));
    }

    /// So many lists of one text each, which no view holds by itself.
    fn lists(rows: i32) -> ListArray {
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        for row in 0..rows {
            let text = format!("a text that is too long to be held in a view {row}");
            lists.values().append_value(text);
            lists.append(true);
        }
        lists.finish()
    }

    fn retained(batch: &RecordBatch) -> u64 {
        let data: Vec<_> = batch.columns().iter().map(|c| c.to_data()).collect();
        retained_by(&data)
    }

    #[test]
    fn a_slice_of_lists_has_no_more_than_its_share() {
        let whole = batch(Arc::new(lists(10_000)));
        let all = retained(&whole);
        for offset in [0, 3_000, 9_900] {
            let few = slice(&whole, offset, 100).unwrap();
            assert_eq!(few, whole.slice(offset, 100));
            assert!(retained(&few) < all / 20, "{} of {all}", retained(&few));
            let (few, bytes) = trimmed(&whole.slice(offset, 100)).unwrap();
            assert_eq!(few, whole.slice(offset, 100));
            assert!(retained(&few) < all / 20, "{} of {all}", retained(&few));
            assert!((4_500..10_000).contains(&bytes), "{bytes}");
        }
    }

    #[test]
    fn views_of_the_same_bytes_are_not_given_a_copy_each() {
        let one = StringViewArray::from_iter_values(["x".repeat(100_000)]);
        let same = arrow::compute::take(&one, &Int64Array::from(vec![0; 1000]), None).unwrap();
        let whole = batch(same);
        for some in [slice(&whole, 10, 500).unwrap(), trimmed(&whole).unwrap().0] {
            assert!(retained(&some) < 300_000, "{}", retained(&some));
        }
    }
}
