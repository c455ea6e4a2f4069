//! The values of a statement's placeholders: one row, carried as Arrow Flight messages when a
//! client binds them, and inside the tickets and prepared statement handles that keep them.

mod check;

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::utils::{batches_to_flight_data, flight_data_to_batches};
use paceline_model::{ErrorClass, QueryError};

/// The most bytes that bound values may take: they travel in every ticket.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// Said of messages that passed every check and that Arrow cannot read all the same.
const TRIPPED: &str = "they are damaged";

/// Writes the values: a schema message and one batch.
///
/// # Errors
/// A user error if Arrow cannot write them.
pub(crate) fn encode(values: &RecordBatch) -> Result<Vec<FlightData>, QueryError> {
    batches_to_flight_data(values.schema_ref(), vec![values.clone()])
        .map_err(|e| invalid(&e.to_string()))
}

/// The same of values that there may be: no messages if there are none.
///
/// # Errors
/// As of [`encode`].
pub(crate) fn encode_any(values: Option<&RecordBatch>) -> Result<Vec<FlightData>, QueryError> {
    values.map_or_else(|| Ok(Vec::new()), encode)
}

/// Reads what [`encode_any`] wrote.
///
/// # Errors
/// As of [`decode`].
pub(crate) fn decode_any(messages: &[FlightData]) -> Result<Option<RecordBatch>, QueryError> {
    match messages {
        [] => Ok(None),
        _ => decode(messages).map(Some),
    }
}

/// Reads the values. The messages come from a client and may hold anything.
///
/// # Errors
/// A user error if they are anything but one row.
pub(crate) fn decode(messages: &[FlightData]) -> Result<RecordBatch, QueryError> {
    let size: usize = messages
        .iter()
        .map(|m| m.data_header.len() + m.data_body.len())
        .sum();
    if size > MAX_BYTES {
        let problem = format!("they take {size} bytes, and at most {MAX_BYTES} are accepted");
        return Err(invalid(&problem));
    }
    check::check(messages)?;
    // Should Arrow still trip over something: nothing here is shared with the outside, so that an
    // unwound panic leaves nothing half done.
    let batches = catch_unwind(AssertUnwindSafe(|| flight_data_to_batches(messages)))
        .map_err(|_| invalid(TRIPPED))?
        .map_err(|e| invalid(&e.to_string()))?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    match batches.into_iter().find(|batch| batch.num_rows() == 1) {
        Some(batch) if rows == 1 => Ok(batch),
        _ => Err(QueryError::new(
            ErrorClass::Unsupported,
            format!("{rows} rows of parameters were bound; bind one row and execute once for each"),
        )),
    }
}

fn invalid(problem: &str) -> QueryError {
    QueryError::new(
        ErrorClass::User,
        format!("the bound parameters cannot be read: {problem}"),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, Decimal128Array, Int64Array, StringArray, StringViewArray};

    use super::*;

    pub(crate) fn row() -> RecordBatch {
        RecordBatch::try_from_iter([
            ("0", Arc::new(Int64Array::from(vec![Some(7)])) as _),
            ("1", Arc::new(StringArray::from(vec![None::<&str>])) as _),
            ("2", Arc::new(Decimal128Array::from(vec![12345])) as _),
            (
                "3",
                Arc::new(StringViewArray::from(vec!["more than twelve bytes"])) as _,
            ),
        ])
        .unwrap()
    }

    #[test]
    fn a_row_comes_back_whole() {
        assert_eq!(decode(&encode(&row()).unwrap()), Ok(row()));
    }

    #[test]
    fn anything_but_one_row_is_refused() {
        let two = arrow::compute::concat_batches(&row().schema(), &[row(), row()]).unwrap();
        for (batch, count) in [(two, "2 rows"), (row().slice(0, 0), "0 rows")] {
            let error = decode(&encode(&batch).unwrap()).unwrap_err();
            assert_eq!(error.class, ErrorClass::Unsupported);
            assert!(error.message.starts_with(count), "{error}");
        }
        assert_eq!(decode(&[]).unwrap_err().class, ErrorClass::User);
    }

    /// Arrow itself must never trip: `check` finds what would make it.
    fn decode_damaged(messages: &[FlightData], what: &str) -> bool {
        match decode(messages) {
            Ok(_) => false,
            Err(error) => {
                assert!(!error.message.contains(TRIPPED), "{what}");
                true
            }
        }
    }

    #[test]
    fn damage_is_an_error_whatever_is_hit() {
        let whole = encode(&row()).unwrap();
        let mut refused = 0;
        for message in 0..whole.len() {
            let header = whole[message].data_header.len() * 8;
            let body = whole[message].data_body.len() * 8;
            for bit in 0..header + body {
                let mut damaged = whole.clone();
                let (part, bit) = match bit < header {
                    true => (&mut damaged[message].data_header, bit),
                    false => (&mut damaged[message].data_body, bit - header),
                };
                let mut bytes = part.to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                *part = bytes.into();
                let what = format!("message {message}, bit {bit}");
                refused += usize::from(decode_damaged(&damaged, &what));
            }
            for length in 0..whole[message].data_body.len() {
                let mut short = whole.clone();
                short[message].data_body.truncate(length);
                decode_damaged(&short, &format!("message {message}, {length} bytes"));
            }
        }
        assert!(refused > 100, "{refused}");
    }

    #[test]
    fn only_plain_values_are_bound() {
        use arrow::array::{DictionaryArray, ListArray};
        use arrow::datatypes::{Int8Type, Int64Type};
        let words: DictionaryArray<Int8Type> = ["a"].into_iter().collect();
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)])]);
        for column in [Arc::new(words) as Arc<dyn Array>, Arc::new(list)] {
            let batch = RecordBatch::try_from_iter([("0", column)]).unwrap();
            let refused = encode(&batch).and_then(|messages| decode(&messages));
            assert_eq!(refused.unwrap_err().class, ErrorClass::User);
        }
    }
}
