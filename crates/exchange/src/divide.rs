//! Dividing rows among the partitions of an exchange.
//!
//! Whoever hashes rows knows the partition of each. Here they are copied out, once, into pieces that
//! share nothing, neither with each other nor with what they were copied from; so the store can keep
//! them as they are. Some batches are gathered first: those of one make such small pieces, where
//! there are many partitions, that each costs more by itself than by its rows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

use crate::frame::{Allocations, FRAME_BYTES, FRAME_ROWS, overhead, used, with_schema};

/// Rows that are gathered before they are divided.
const GATHERED_ROWS: usize = 4 * FRAME_ROWS;

/// Bytes of rows that are, and bytes that may be kept alive for them.
const GATHERED_BYTES: u64 = FRAME_BYTES;

/// Batches that are: copying from many costs more than copying from few.
const GATHERED_BATCHES: usize = 64;

/// Divides the rows of one stream. They stay in order within each partition.
///
/// What is gathered is charged to nobody, but there is little of it: a single batch, or several with
/// less than 2 MiB of rows, of which the first and the last alone may keep something larger alive.
#[derive(Debug)]
pub struct Divider {
    schema: SchemaRef,
    partitions: u32,
    /// Whether the columns can be copied from several batches at a time.
    gathers: bool,
    batches: Vec<RecordBatch>,
    /// The partition of each row.
    to: Vec<u32>,
    /// Bytes of the rows.
    bytes: u64,
    /// Bytes that the batches keep alive, but for what the first one does: whoever divides holds one
    /// in any case.
    held: u64,
    allocations: Allocations,
}

impl Divider {
    /// A divider for batches of that schema, among so many partitions.
    pub fn new(schema: SchemaRef, partitions: u32) -> Self {
        let gathers = schema.fields().iter().all(|f| gathers(f.data_type()));
        Divider {
            schema,
            partitions,
            gathers,
            batches: Vec::new(),
            to: Vec::new(),
            bytes: 0,
            held: 0,
            allocations: Allocations::default(),
        }
    }

    /// Takes in a batch whose rows belong to the partitions `to`; gives what is to be written now,
    /// which may be nothing.
    ///
    /// # Errors
    /// If the batch has other columns than the schema, or `to` does not name a partition for each of
    /// its rows.
    pub fn add(&mut self, batch: RecordBatch, to: &[u32]) -> Result<Divided, ArrowError> {
        let batch = with_schema(batch, &self.schema)?;
        self.check(&batch, to)?;
        if to.is_empty() {
            return Ok(Divided::default());
        }
        let data: Vec<ArrayData> = batch.columns().iter().map(|c| c.to_data()).collect();
        let bytes = data.iter().map(used).sum::<u64>();
        // A large batch gains nothing from others; with them, the offsets of a text column might not
        // suffice for a piece.
        let alone = !self.gathers || bytes >= GATHERED_BYTES;
        let earlier = (alone && !self.batches.is_empty()).then(|| self.sort());
        let new = self.allocations.add(&data);
        if !self.batches.is_empty() {
            self.held += new + overhead(&batch);
        }
        self.bytes += bytes;
        self.to.extend_from_slice(to);
        self.batches.push(batch);
        let due = (alone || self.is_full()).then(|| self.sort());
        Ok(match earlier {
            Some(earlier) => Divided {
                now: Some(earlier),
                then: due,
            },
            None => Divided {
                now: due,
                then: None,
            },
        })
    }

    /// What is left when there are no more batches.
    pub fn finish(mut self) -> Divided {
        Divided {
            now: (!self.batches.is_empty()).then(|| self.sort()),
            then: None,
        }
    }

    fn is_full(&self) -> bool {
        self.to.len() >= GATHERED_ROWS
            || self.bytes >= GATHERED_BYTES
            || self.held >= GATHERED_BYTES
            || self.batches.len() >= GATHERED_BATCHES
    }

    fn check(&self, batch: &RecordBatch, to: &[u32]) -> Result<(), ArrowError> {
        let rows = batch.num_rows();
        let known = to.iter().all(|partition| *partition < self.partitions);
        // Rows are numbered in 32 bits while they are sorted.
        if known && rows == to.len() && u32::try_from(self.to.len() + rows).is_ok() {
            return Ok(());
        }
        Err(ArrowError::InvalidArgumentError(format!(
            "{rows} rows cannot be divided among {} partitions by {} numbers of partitions",
            self.partitions,
            to.len()
        )))
    }

    /// Puts the rows that were gathered in the order of their partitions, and begins anew.
    fn sort(&mut self) -> Sorted {
        let mut ends = vec![0; self.partitions as usize];
        for partition in &self.to {
            if let Some(count) = ends.get_mut(*partition as usize) {
                *count += 1;
            }
        }
        let mut begin = 0;
        for end in &mut ends {
            let count = std::mem::replace(end, begin);
            begin += count;
        }
        // Each is where its partition begins by now; it ends up where it ends.
        let mut order = vec![0; self.to.len()];
        for (row, partition) in (0..).zip(&self.to) {
            if let Some(at) = ends.get_mut(*partition as usize)
                && let Some(place) = order.get_mut(*at)
            {
                *place = row;
                *at += 1;
            }
        }
        self.to.clear();
        // A batch of very many rows came by.
        self.to.shrink_to(2 * GATHERED_ROWS);
        (self.bytes, self.held) = (0, 0);
        self.allocations = Allocations::default();
        Sorted {
            schema: Arc::clone(&self.schema),
            batches: std::mem::take(&mut self.batches),
            order: UInt32Array::from(order),
            ends,
            partition: 0,
            begin: 0,
            places: Vec::new(),
        }
    }
}

/// Whether a column of that type can be copied from several batches at a time, as fast as from one.
/// Several dictionaries may have more values than their keys can tell apart; the other ones would be
/// copied row by row.
fn gathers(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, _)
        | DataType::FixedSizeBinary(_)
        | DataType::Union(_, _)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::RunEndEncoded(_, _) => false,
        DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => {
            gathers(field.data_type())
        }
        // Lists of nothing do not tell how many they are.
        DataType::FixedSizeList(field, size) => *size > 0 && gathers(field.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| gathers(field.data_type())),
        _ => true,
    }
}

/// Rows that were divided: pieces of each partition that has any, made one by one as they are asked
/// for.
#[derive(Debug, Default)]
pub struct Divided {
    now: Option<Sorted>,
    then: Option<Sorted>,
}

impl Iterator for Divided {
    type Item = Result<(u32, RecordBatch), ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(piece) = self.now.as_mut()?.next() {
                return Some(piece);
            }
            self.now = self.then.take();
        }
    }
}

/// Batches, and the order of their rows by partition.
#[derive(Debug)]
struct Sorted {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    /// Numbers of rows, counted through all batches.
    order: UInt32Array,
    /// Where each partition ends in that order.
    ends: Vec<usize>,
    /// The partition that comes next, and where it begins.
    partition: u32,
    begin: usize,
    /// The batch of each row of a piece, and its place there.
    places: Vec<(usize, usize)>,
}

impl Sorted {
    fn next(&mut self) -> Option<Result<(u32, RecordBatch), ArrowError>> {
        loop {
            let partition = self.partition;
            let end = *self.ends.get(partition as usize)?;
            let begin = std::mem::replace(&mut self.begin, end);
            self.partition += 1;
            if end > begin {
                let rows = self.piece(begin, end - begin);
                return Some(rows.map(|rows| (partition, rows)));
            }
        }
    }

    fn piece(&mut self, begin: usize, length: usize) -> Result<RecordBatch, ArrowError> {
        let rows = self.order.slice(begin, length);
        let columns: Result<Vec<ArrayRef>, ArrowError> = match self.batches.as_slice() {
            [batch] => {
                let columns = batch.columns().iter();
                columns.map(|column| take(column, &rows, None)).collect()
            }
            batches => {
                locate(batches, rows.values(), &mut self.places);
                let mut from: Vec<&dyn Array> = Vec::with_capacity(batches.len());
                let columns = (0..self.schema.fields().len()).map(|index| {
                    from.clear();
                    from.extend(batches.iter().map(|batch| batch.column(index).as_ref()));
                    copied(&from, &self.places)
                });
                columns.collect()
            }
        };
        let columns = columns?.into_iter().map(own).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(length));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}

/// Finds rows that are counted through all batches; they are in order.
fn locate(batches: &[RecordBatch], rows: &[u32], places: &mut Vec<(usize, usize)>) {
    let mut sizes = batches.iter().map(RecordBatch::num_rows);
    let (mut batch, mut begin) = (0, 0);
    let mut end = sizes.next().unwrap_or(usize::MAX);
    places.clear();
    places.extend(rows.iter().map(|row| {
        let row = *row as usize;
        while row >= end {
            batch += 1;
            begin = end;
            end = sizes.next().map_or(usize::MAX, |size| end + size);
        }
        (batch, row - begin)
    }));
}

fn copied(columns: &[&dyn Array], places: &[(usize, usize)]) -> Result<ArrayRef, ArrowError> {
    let boolean = |column: &&dyn Array| column.data_type() == &DataType::Boolean;
    if !columns.first().is_some_and(boolean) {
        return interleave(columns, places);
    }
    // Of these alone, Arrow makes a general copy, row by row.
    let columns: Vec<&BooleanArray> = columns.iter().map(|column| column.as_boolean()).collect();
    let values = places.iter().map(|(batch, row)| {
        let column = columns.get(*batch).filter(|column| column.is_valid(*row));
        column.map(|column| column.value(*row))
    });
    Ok(Arc::new(values.collect::<BooleanArray>()))
}

/// Views that were copied refer to the bytes of whole batches; they get bytes of their own.
fn own(column: ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => column,
    }
}

#[cfg(test)]
mod tests;
