//! What columns of views need of the buffers that they point into, at whatever depth the views are.

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, MutableArrayData, make_array};
use arrow::datatypes::{ArrowNativeType, DataType};
use arrow::error::ArrowError;

/// A view of up to so many bytes holds its value itself.
const INLINE: u32 = 12;

/// About how many bytes these rows of a column take in a message, if only values are sent that they
/// point at.
pub(crate) fn used(data: &ArrayData) -> usize {
    let nulls = data.nulls().map_or(0, |_| data.len().div_ceil(8));
    let children = || data.child_data().iter();
    match data.data_type() {
        DataType::Utf8View | DataType::BinaryView => {
            nulls + data.len() * size_of::<u128>() + referred(data)
        }
        DataType::List(_) | DataType::Map(_, _) => nulls + in_list::<i32>(data),
        DataType::LargeList(_) => nulls + in_list::<i64>(data),
        DataType::FixedSizeList(_, size) => {
            let size = usize::try_from(*size).unwrap_or(0);
            let (first, count) = (data.offset() * size, data.len() * size);
            nulls
                + children()
                    .map(|all| window(all, first, count))
                    .sum::<usize>()
        }
        DataType::Struct(_) => nulls + children().map(used).sum::<usize>(),
        // What cannot be measured exactly is measured too large, and makes smaller pieces.
        _ => data
            .get_slice_memory_size()
            .unwrap_or_else(|_| data.get_array_memory_size()),
    }
}

/// Bytes of the buffers that the views of a column may point into: all of them are sent with it.
pub(crate) fn held(data: &ArrayData) -> usize {
    match data.data_type() {
        DataType::Utf8View | DataType::BinaryView => {
            data.buffers().iter().skip(1).map(|b| b.len()).sum()
        }
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::Map(_, _)
        | DataType::FixedSizeList(_, _)
        | DataType::Struct(_) => data.child_data().iter().map(held).sum(),
        _ => 0,
    }
}

/// The same rows, in which views have buffers of their own with nothing else in them.
///
/// # Errors
/// If the column is not what its type says.
pub(crate) fn shrunk(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let data = column.to_data();
    if data.child_data().is_empty() {
        return with_own_buffers(data).map(make_array);
    }
    // A slice of lists has all items of the whole; a copy has those of the slice.
    let length = data.len();
    let mut copied = MutableArrayData::new(vec![&data], false, length);
    copied.try_extend(0, 0, length)?;
    with_own_buffers(copied.freeze()).map(make_array)
}

fn with_own_buffers(data: ArrayData) -> Result<ArrayData, ArrowError> {
    match data.data_type() {
        DataType::Utf8View => Ok(make_array(data).as_string_view().gc().to_data()),
        DataType::BinaryView => Ok(make_array(data).as_binary_view().gc().to_data()),
        _ if held(&data) == 0 => Ok(data),
        _ => {
            let children = data.child_data().iter().cloned().map(with_own_buffers);
            let children = children.collect::<Result<Vec<_>, _>>()?;
            data.into_builder().child_data(children).build()
        }
    }
}

/// Bytes of the values that are not in the views themselves.
fn referred(data: &ArrayData) -> usize {
    let views = data
        .buffers()
        .first()
        .map(|views| views.typed_data::<u128>());
    let rows = data.offset()..data.offset() + data.len();
    let views = views.and_then(|views| views.get(rows)).unwrap_or_default();
    // The length of a value is the lowest part of its view.
    let lengths = views.iter().map(|view| *view as u32);
    lengths
        .filter(|length| *length > INLINE)
        .map(|length| length as usize)
        .sum()
}

fn in_list<O: ArrowNativeType>(data: &ArrayData) -> usize {
    let offsets = data
        .buffers()
        .first()
        .map(|offsets| offsets.typed_data::<O>());
    let at = |row: usize| offsets.and_then(|offsets| offsets.get(row));
    let (first, end) = (at(data.offset()), at(data.offset() + data.len()));
    let (Some(first), Some(end), Some(items)) = (first, end, data.child_data().first()) else {
        return 0;
    };
    let (first, end) = (first.as_usize(), end.as_usize());
    size_of::<O>() * (data.len() + 1) + window(items, first, end.saturating_sub(first))
}

fn window(items: &ArrayData, first: usize, count: usize) -> usize {
    match first.saturating_add(count) > items.len() {
        true => used(items),
        false => used(&items.slice(first, count)),
    }
}
