//! What a statement answers that writes.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, UInt64Type};

/// How many rows were written, if that is what the batch holds: one row with one column, `count`.
pub(crate) fn count(batch: &RecordBatch) -> Option<i64> {
    let schema = batch.schema();
    match schema.fields().as_ref() {
        [field] if field.name() == "count" && *field.data_type() == DataType::UInt64 => {
            let counts = batch.column(0).as_primitive::<UInt64Type>();
            (counts.len() == 1).then(|| i64::try_from(counts.value(0)).ok())?
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::UInt64Array;

    use super::*;

    #[test]
    fn only_the_count_of_a_write_counts() {
        let batch = |name: &str, values: Vec<u64>| {
            let column = Arc::new(UInt64Array::from(values)) as _;
            RecordBatch::try_from_iter([(name, column)]).unwrap()
        };
        assert_eq!(count(&batch("count", vec![7])), Some(7));
        assert_eq!(count(&batch("other", vec![7])), None);
        assert_eq!(count(&batch("count", vec![7, 8])), None);
        assert_eq!(count(&batch("count", vec![u64::MAX])), None);
    }
}
