//! Reading on in a result whose first rows were given out already, after it was made again.

use arrow::array::RecordBatch;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use paceline_model::{ErrorClass, QueryError};

/// A multiplier that spreads bits well; the one of FNV-1a for 64 bits.
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Rows that were given out, as a number and a digest that depends on their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    rows: u64,
    digest: u64,
}

impl Delivered {
    /// Takes in rows that go out.
    ///
    /// # Errors
    /// If a column has a type that cannot be hashed.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        let mut hashes = vec![0; batch.num_rows()];
        if batch.num_columns() > 0 {
            create_hashes(batch.columns(), &RandomState::with_seed(0), &mut hashes)
                .map_err(|e| paceline_plan::classify(&e))?;
        }
        for hash in hashes {
            self.digest = (self.digest ^ hash).wrapping_mul(PRIME).rotate_left(17);
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }
}

/// Passes over the rows that were given out before, making sure that they are the same.
#[derive(Debug)]
pub(crate) struct Replay {
    seen: Delivered,
    wanted: Delivered,
}

impl Replay {
    pub(crate) fn of(wanted: Delivered) -> Self {
        Replay {
            seen: Delivered::default(),
            wanted,
        }
    }

    /// What of a batch has not been given out yet.
    ///
    /// # Errors
    /// If the rows given out are not those that come now: the reader has to start over.
    pub(crate) fn pass(&mut self, batch: RecordBatch) -> Result<RecordBatch, QueryError> {
        let missing = self.wanted.rows.saturating_sub(self.seen.rows);
        if missing == 0 {
            return Ok(batch);
        }
        let known = usize::try_from(missing)
            .unwrap_or(usize::MAX)
            .min(batch.num_rows());
        self.seen.add(&batch.slice(0, known))?;
        if self.seen.rows == self.wanted.rows && self.seen.digest != self.wanted.digest {
            return Err(changed());
        }
        Ok(batch.slice(known, batch.num_rows() - known))
    }

    /// Called at the end of the rows.
    ///
    /// # Errors
    /// If there are fewer rows now than were given out.
    pub(crate) fn end(&self) -> Result<(), QueryError> {
        if self.seen.rows < self.wanted.rows {
            return Err(changed());
        }
        Ok(())
    }
}

/// The rows come out otherwise than before.
pub(crate) fn changed() -> QueryError {
    QueryError::new(
        ErrorClass::Retryable,
        "the rest of the result was lost, and what was given out of it cannot be continued: ask for \
         the result again, with the same ticket",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    fn batch(values: &[i64]) -> RecordBatch {
        let column = Arc::new(Int64Array::from(values.to_vec()));
        RecordBatch::try_from_iter([("a", column as _)]).unwrap()
    }

    fn delivered(values: &[i64]) -> Delivered {
        let mut delivered = Delivered::default();
        delivered.add(&batch(values)).unwrap();
        delivered
    }

    #[test]
    fn equal_rows_are_passed_over_however_they_are_batched() {
        let mut replay = Replay::of(delivered(&[1, 2, 3]));
        assert_eq!(replay.pass(batch(&[1, 2])).unwrap().num_rows(), 0);
        assert_eq!(replay.pass(batch(&[3, 4])).unwrap(), batch(&[4]));
        assert_eq!(replay.pass(batch(&[5])).unwrap(), batch(&[5]));
        replay.end().unwrap();
    }

    #[test]
    fn other_rows_another_order_and_fewer_rows_are_noticed() {
        for values in [&[1, 2, 4][..], &[2, 1, 3]] {
            let error = Replay::of(delivered(&[1, 2, 3])).pass(batch(values));
            assert_eq!(error.unwrap_err().class, ErrorClass::Retryable);
        }
        let mut short = Replay::of(delivered(&[1, 2, 3]));
        short.pass(batch(&[1, 2])).unwrap();
        assert!(short.end().is_err());
    }
}
