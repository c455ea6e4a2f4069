//! How much memory arrays use, and how much they keep from being freed.

use std::collections::HashSet;

use arrow::array::{ArrayData, RecordBatch};
use arrow::datatypes::DataType;

/// Bytes for the structures around the buffers of one column.
const COLUMN_OVERHEAD: u64 = 160;

/// Bytes that the rows of the batch need: those that a copy of it would have.
pub(crate) fn used(data: &ArrayData) -> u64 {
    let nulls = data.nulls().map_or(0, |_| data.len().div_ceil(8) as u64);
    match data.data_type() {
        DataType::Utf8View | DataType::BinaryView => nulls + used_by_views(data),
        DataType::List(_) | DataType::Map(_, _) => nulls + used_by_list::<i32>(data, usize_of_i32),
        DataType::LargeList(_) => nulls + used_by_list::<i64>(data, usize_of_i64),
        DataType::FixedSizeList(_, size) => {
            let size = usize::try_from(*size).unwrap_or(0);
            let child = data.child_data().first();
            nulls
                + child.map_or(0, |child| {
                    window(child, data.offset() * size, data.len() * size)
                })
        }
        DataType::Dictionary(key, _) => {
            let keys = key.primitive_width().unwrap_or(8) * data.len();
            let values = data.child_data().iter();
            nulls + keys as u64 + values.map(|v| used_of_values(v, data.len())).sum::<u64>()
        }
        DataType::Struct(_) => nulls + data.child_data().iter().map(used).sum::<u64>(),
        _ => data
            .get_slice_memory_size()
            .map_or_else(|_| retained_by([data]), |bytes| bytes as u64),
    }
}

/// What so many rows can refer to of a dictionary's values: of a larger one, a copy has no more.
fn used_of_values(values: &ArrayData, rows: usize) -> u64 {
    let all = used(values);
    if values.len() <= rows {
        return all;
    }
    let share = u128::from(all) * rows as u128 / values.len() as u128;
    u64::try_from(share).unwrap_or(all)
}

fn usize_of_i32(offset: i32) -> usize {
    usize::try_from(offset).unwrap_or(0)
}

fn usize_of_i64(offset: i64) -> usize {
    usize::try_from(offset).unwrap_or(0)
}

fn used_by_list<O: arrow::datatypes::ArrowNativeType>(
    data: &ArrayData,
    to_usize: fn(O) -> usize,
) -> u64 {
    let width = size_of::<O>() * (data.len() + 1);
    let offsets = data
        .buffers()
        .first()
        .map(|buffer| buffer.typed_data::<O>())
        .unwrap_or_default();
    let bounds = (
        offsets.get(data.offset()),
        offsets.get(data.offset() + data.len()),
    );
    let (Some(first), Some(last), Some(child)) = (bounds.0, bounds.1, data.child_data().first())
    else {
        return 0;
    };
    let (first, last) = (to_usize(*first), to_usize(*last));
    width as u64 + window(child, first, last.saturating_sub(first))
}

fn window(child: &ArrayData, offset: usize, length: usize) -> u64 {
    if offset.saturating_add(length) > child.len() {
        return used(child);
    }
    used(&child.slice(offset, length))
}

fn used_by_views(data: &ArrayData) -> u64 {
    // Values may share bytes, as those of a dictionary-encoded column do.
    referred_by_views(data).min(held_by_views(data)) + size_of_val(views(data)) as u64
}

/// Whether values share bytes: a copy of each would take more than there are.
pub(super) fn views_overlap(data: &ArrayData) -> bool {
    referred_by_views(data) > held_by_views(data)
}

fn views(data: &ArrayData) -> &[u128] {
    let views = data
        .buffers()
        .first()
        .map(|buffer| buffer.typed_data::<u128>())
        .unwrap_or_default();
    views
        .get(data.offset()..data.offset() + data.len())
        .unwrap_or_default()
}

/// Bytes of the values that are not held by their views themselves.
fn referred_by_views(data: &ArrayData) -> u64 {
    // A view of up to 12 bytes holds its value itself.
    const INLINE: u32 = 12;
    let lengths = views(data).iter().map(|view| *view as u32);
    lengths
        .filter(|length| *length > INLINE)
        .map(u64::from)
        .sum()
}

/// Bytes of the buffers that the views point into.
fn held_by_views(data: &ArrayData) -> u64 {
    data.buffers().iter().skip(1).map(|b| b.len() as u64).sum()
}

/// Bytes of all allocations that the arrays keep alive, each counted once.
pub(crate) fn retained_by<'a>(arrays: impl IntoIterator<Item = &'a ArrayData>) -> u64 {
    let mut allocations = Vec::new();
    for data in arrays {
        collect(data, &mut allocations);
    }
    allocations.sort_unstable();
    allocations.dedup_by_key(|(address, _)| *address);
    allocations.iter().map(|(_, bytes)| *bytes as u64).sum()
}

/// The allocations that some batches keep alive.
#[derive(Debug, Default)]
pub(crate) struct Allocations {
    addresses: HashSet<usize>,
}

impl Allocations {
    /// Adds those of a batch's columns; gives the bytes of those that are new. They are told apart
    /// by their addresses, so whatever was added has to live as long as this.
    pub(crate) fn add(&mut self, columns: &[ArrayData]) -> u64 {
        let mut allocations = Vec::new();
        for data in columns {
            collect(data, &mut allocations);
        }
        let new = allocations
            .into_iter()
            .filter(|(address, _)| self.addresses.insert(*address));
        new.map(|(_, bytes)| bytes as u64).sum()
    }
}

fn collect(data: &ArrayData, into: &mut Vec<(usize, usize)>) {
    for buffer in data.buffers() {
        into.push((buffer.data_ptr().as_ptr() as usize, buffer.capacity()));
    }
    if let Some(nulls) = data.nulls() {
        let buffer = nulls.buffer();
        into.push((buffer.data_ptr().as_ptr() as usize, buffer.capacity()));
    }
    for child in data.child_data() {
        collect(child, into);
    }
}

/// What keeping the batch costs beside its buffers.
pub(crate) fn overhead(batch: &RecordBatch) -> u64 {
    (batch.num_columns() as u64 + 1) * COLUMN_OVERHEAD
}
