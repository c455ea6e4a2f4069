use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::RELATIVE_TOLERANCE;

/// One value of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Null,
    Float(f64),
    /// Everything that is compared exactly, in arrow's own notation.
    Exact(String),
}

/// Whether two numbers are equal but for the order in which they were summed.
pub(crate) fn close(left: f64, right: f64) -> bool {
    if left == right || (left.is_nan() && right.is_nan()) {
        return true;
    }
    (left - right).abs() <= RELATIVE_TOLERANCE * left.abs().max(right.abs())
        && left.is_finite()
        && right.is_finite()
}

impl Cell {
    pub(crate) fn same(&self, other: &Cell) -> bool {
        match (self, other) {
            (Cell::Null, Cell::Null) => true,
            (Cell::Float(left), Cell::Float(right)) => close(*left, *right),
            (Cell::Exact(left), Cell::Exact(right)) => left == right,
            _ => false,
        }
    }

    /// An order that puts rows that are the same side by side, as far as exact values go: floats
    /// come last, because close ones may stand in any order.
    pub(crate) fn exact_order(&self, other: &Cell) -> Ordering {
        let rank = |cell: &Cell| match cell {
            Cell::Null => 0,
            Cell::Float(_) => 1,
            Cell::Exact(_) => 2,
        };
        match (self, other) {
            (Cell::Exact(left), Cell::Exact(right)) => left.cmp(right),
            _ => rank(self).cmp(&rank(other)),
        }
    }

    pub(crate) fn float_order(&self, other: &Cell) -> Ordering {
        match (self, other) {
            (Cell::Float(left), Cell::Float(right)) => left.total_cmp(right),
            _ => Ordering::Equal,
        }
    }

    /// Whether it is neither NULL nor zero.
    pub(crate) fn says_something(&self) -> bool {
        match self {
            Cell::Null => false,
            Cell::Float(number) => *number != 0.0,
            Cell::Exact(text) => text.parse::<f64>() != Ok(0.0),
        }
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Cell::Null => "NULL".to_string(),
            Cell::Float(number) => number.to_string(),
            Cell::Exact(text) => text.clone(),
        }
    }
}

/// The type, without the differences in layout that nobody sees: all strings are strings.
pub(crate) fn kind(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_string(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".to_string(),
        DataType::Dictionary(_, values) => kind(values),
        other => other.to_string(),
    }
}

/// The values of a column.
pub(crate) fn cells(column: &ArrayRef) -> Result<Vec<Cell>, ArrowError> {
    if column.data_type().is_floating() {
        let floats = cast(column, &DataType::Float64)?;
        let floats = floats.as_primitive::<Float64Type>();
        return Ok(floats
            .iter()
            .map(|value| value.map_or(Cell::Null, Cell::Float))
            .collect());
    }
    let options = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let nulls = column.logical_nulls();
    (0..column.len())
        .map(|row| {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                return Ok(Cell::Null);
            }
            Ok(Cell::Exact(formatter.value(row).try_to_string()?))
        })
        .collect()
}
