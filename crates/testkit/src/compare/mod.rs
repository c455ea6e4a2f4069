//! Whether two answers are the same.
//!
//! Rows are compared as a multiset; of a query with `ORDER BY`, the sequence of the columns it
//! orders by as well, which is all that the query fixes (rows with equal keys may stand in any
//! order). Numbers in floating point may differ by [`RELATIVE_TOLERANCE`], because sums taken in
//! another order do; everything else must be equal.

mod cell;
mod order;
mod rows;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use cell::{Cell, kind};
pub use order::order_of;
use rows::Row;

/// How far two floating-point numbers may lie apart, relative to the larger one.
pub const RELATIVE_TOLERANCE: f64 = 1e-9;

/// What a query fixes about its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// The output columns it orders by, the first one first; empty if it has no `ORDER BY`.
    pub keys: Vec<usize>,
    /// Its `LIMIT`. Of rows whose keys equal those of the last row of a full answer, any may have
    /// been cut off, so two answers may have different ones.
    pub limit: Option<usize>,
}

impl Order {
    /// Any order is right.
    pub fn any() -> Self {
        Order::default()
    }

    /// Ordered by these output columns.
    pub fn by(keys: impl Into<Vec<usize>>) -> Self {
        Order {
            keys: keys.into(),
            limit: None,
        }
    }
}

/// The first thing in which two answers differ.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Difference {
    /// Another number of columns, or another name or type of one.
    #[error("column {column} is {actual}, but should be {expected}")]
    Schema {
        /// The column, from 0.
        column: usize,
        /// Name and type as expected.
        expected: String,
        /// Name and type as found.
        actual: String,
    },
    /// Another number of rows.
    #[error("{actual} rows instead of {expected}")]
    RowCount {
        /// Rows expected.
        expected: usize,
        /// Rows found.
        actual: usize,
    },
    /// The rows are not in the order that the query asks for.
    #[error("row {row} is out of order: {actual}, but {expected} belongs there")]
    Order {
        /// The row, from 0.
        row: usize,
        /// What belongs there.
        expected: String,
        /// What is there.
        actual: String,
    },
    /// A row is missing, and another one is there instead.
    #[error("a row differs: {actual}, but expected was {expected}")]
    Row {
        /// A row that is missing.
        expected: String,
        /// A row that is too much.
        actual: String,
    },
    /// A column could not be read.
    #[error("column {column} cannot be compared: {reason}")]
    Unreadable {
        /// The column, from 0.
        column: usize,
        /// What arrow says.
        reason: String,
    },
}

/// Compares two answers to one query.
///
/// # Errors
/// The first [`Difference`].
pub fn compare(
    expected: (&Schema, &[RecordBatch]),
    actual: (&Schema, &[RecordBatch]),
    order: &Order,
) -> Result<(), Difference> {
    same_schema(expected.0, actual.0)?;
    let expected = rows::read(expected.1)?;
    let actual = rows::read(actual.1)?;
    if expected.len() != actual.len() {
        return Err(Difference::RowCount {
            expected: expected.len(),
            actual: actual.len(),
        });
    }
    same_sequence(&expected, &actual, &order.keys)?;
    let (expected, actual) = without_cut_ties(expected, actual, order);
    rows::same_multiset(expected, actual)
}

/// Whether there is something in an answer that could be wrong: a value that is neither NULL nor zero, in a row
/// that [`compare`] looks at. What agrees with an answer that says nothing shows nothing.
///
/// # Errors
/// If a column cannot be read.
pub fn says_something(batches: &[RecordBatch], order: &Order) -> Result<bool, Difference> {
    let (rows, _) = without_cut_ties(rows::read(batches)?, Vec::new(), order);
    Ok(rows.iter().flatten().any(Cell::says_something))
}

fn same_schema(expected: &Schema, actual: &Schema) -> Result<(), Difference> {
    let describe = |schema: &Schema, column: usize| match schema.fields().get(column) {
        Some(field) => format!("'{}' ({})", field.name(), kind(field.data_type())),
        None => "absent".to_string(),
    };
    let columns = expected.fields().len().max(actual.fields().len());
    for column in 0..columns {
        let (expected, actual) = (describe(expected, column), describe(actual, column));
        if expected != actual {
            return Err(Difference::Schema {
                column,
                expected,
                actual,
            });
        }
    }
    Ok(())
}

fn same_sequence(expected: &[Row], actual: &[Row], keys: &[usize]) -> Result<(), Difference> {
    for (row, (e, a)) in expected.iter().zip(actual).enumerate() {
        let equal = keys.iter().all(|&key| same_cell(e, a, key));
        if !equal {
            return Err(Difference::Order {
                row,
                expected: rows::text(e),
                actual: rows::text(a),
            });
        }
    }
    Ok(())
}

fn same_cell(left: &Row, right: &Row, column: usize) -> bool {
    match (left.get(column), right.get(column)) {
        (Some(left), Some(right)) => left.same(right),
        (left, right) => left.is_none() && right.is_none(),
    }
}

/// Leaves out, of an answer that its limit cut, the rows that tie with the last one.
fn without_cut_ties(
    mut expected: Vec<Row>,
    mut actual: Vec<Row>,
    order: &Order,
) -> (Vec<Row>, Vec<Row>) {
    let full = order.limit.is_some_and(|limit| expected.len() >= limit);
    if let (true, Some(last)) = (full, expected.last().cloned()) {
        let ties = |row: &Row| order.keys.iter().all(|&key| same_cell(row, &last, key));
        expected.retain(|row| !ties(row));
        actual.retain(|row| !ties(row));
    }
    (expected, actual)
}

#[cfg(test)]
mod tests;
