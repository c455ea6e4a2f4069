use std::cmp::Ordering;

use arrow::array::RecordBatch;

use super::{Cell, Difference, cell};

pub(crate) type Row = Vec<Cell>;

/// All rows of an answer, in order.
pub(crate) fn read(batches: &[RecordBatch]) -> Result<Vec<Row>, Difference> {
    let mut rows = Vec::new();
    for batch in batches {
        let start = rows.len();
        rows.resize_with(start + batch.num_rows(), || {
            Row::with_capacity(batch.num_columns())
        });
        for (column, array) in batch.columns().iter().enumerate() {
            let cells = cell::cells(array).map_err(|error| Difference::Unreadable {
                column,
                reason: error.to_string(),
            })?;
            for (row, cell) in rows.iter_mut().skip(start).zip(cells) {
                row.push(cell);
            }
        }
    }
    Ok(rows)
}

pub(crate) fn text(row: &Row) -> String {
    let cells: Vec<String> = row.iter().map(Cell::text).collect();
    format!("({})", cells.join(", "))
}

fn same(left: &Row, right: &Row) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(l, r)| l.same(r))
}

fn exact_order(left: &Row, right: &Row) -> Ordering {
    let cells = left.iter().zip(right);
    cells.fold(Ordering::Equal, |order, (l, r)| {
        order.then_with(|| l.exact_order(r))
    })
}

fn full_order(left: &Row, right: &Row) -> Ordering {
    let floats = || {
        let cells = left.iter().zip(right);
        cells.fold(Ordering::Equal, |order, (l, r)| {
            order.then_with(|| l.float_order(r))
        })
    };
    exact_order(left, right).then_with(floats)
}

/// Whether both have the same rows, in whatever order.
pub(crate) fn same_multiset(
    mut expected: Vec<Row>,
    mut actual: Vec<Row>,
) -> Result<(), Difference> {
    let differs = |e: Option<&Row>, a: Option<&Row>| Difference::Row {
        expected: e.map_or("nothing".to_string(), text),
        actual: a.map_or("nothing".to_string(), text),
    };
    expected.sort_by(full_order);
    actual.sort_by(full_order);
    let (mut expected, mut actual) = (expected.as_slice(), actual.as_slice());
    // Group by group of rows that agree in all that is compared exactly.
    while let (Some(first), Some(other)) = (expected.first(), actual.first()) {
        if exact_order(first, other) != Ordering::Equal {
            return Err(differs(Some(first), Some(other)));
        }
        let group = |rows: &[Row]| {
            rows.iter()
                .take_while(|row| exact_order(row, first) == Ordering::Equal)
                .count()
        };
        let (in_expected, in_actual) = (group(expected), group(actual));
        let (these, expected_rest) = expected.split_at(in_expected);
        let (those, actual_rest) = actual.split_at(in_actual);
        if let Some((e, a)) = unmatched(these, those) {
            return Err(differs(e, a));
        }
        (expected, actual) = (expected_rest, actual_rest);
    }
    match (expected.first(), actual.first()) {
        (None, None) => Ok(()),
        (e, a) => Err(differs(e, a)),
    }
}

/// A pair that shows that two groups differ. Sorted groups nearly always match row by row; where
/// close floats changed places, each row looks for a partner of its own.
fn unmatched<'a>(
    expected: &'a [Row],
    actual: &'a [Row],
) -> Option<(Option<&'a Row>, Option<&'a Row>)> {
    if expected.len() == actual.len() && expected.iter().zip(actual).all(|(e, a)| same(e, a)) {
        return None;
    }
    let mut left: Vec<&Row> = actual.iter().collect();
    for row in expected {
        match left.iter().position(|candidate| same(row, candidate)) {
            Some(found) => {
                left.swap_remove(found);
            }
            None => return Some((Some(row), left.first().copied())),
        }
    }
    left.first().map(|&row| (None, Some(row)))
}
