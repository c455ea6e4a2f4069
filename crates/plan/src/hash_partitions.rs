//! Which partition of a hash exchange each row belongs to.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::hash_utils::create_hashes;
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::utils::evaluate_expressions_to_arrays;
use datafusion::physical_plan::repartition::REPARTITION_RANDOM_STATE;

/// Finds the partitions of rows, by the hash of some expressions.
///
/// They are those that DataFusion's own repartitioning finds. Exchanges have to agree with each
/// other, as each side of a join is divided by one; and with DataFusion, as a repartitioning that
/// stays within its stage may divide the other side.
#[derive(Debug)]
pub struct HashPartitions {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    remainder: Remainder,
    hashes: Vec<u64>,
    partitions: Vec<u32>,
}

impl HashPartitions {
    /// Divides by the hash of `exprs`, among so many partitions.
    ///
    /// # Errors
    /// If there is no partition.
    pub fn try_new(exprs: Vec<Arc<dyn PhysicalExpr>>, partitions: u32) -> Result<Self> {
        if partitions == 0 {
            return internal_err!("rows cannot be divided among no partitions");
        }
        Ok(HashPartitions {
            exprs,
            remainder: Remainder::new(u64::from(partitions)),
            hashes: Vec::new(),
            partitions: Vec::new(),
        })
    }

    /// The partition of each row of the batch.
    ///
    /// # Errors
    /// If an expression cannot be evaluated, or has a type that cannot be hashed.
    pub fn of(&mut self, batch: &RecordBatch) -> Result<&[u32]> {
        let keys = evaluate_expressions_to_arrays(&self.exprs, batch)?;
        self.hashes.clear();
        self.hashes.resize(batch.num_rows(), 0);
        let state = REPARTITION_RANDOM_STATE.random_state();
        create_hashes(&keys, state, &mut self.hashes)?;
        self.partitions.clear();
        self.remainder.extend(&mut self.partitions, &self.hashes);
        Ok(&self.partitions)
    }
}

/// The remainder of a division by something that stays the same. To divide takes longer than all
/// else that is done here for a row.
#[derive(Debug, Clone, Copy)]
enum Remainder {
    /// By a power of two.
    Mask(u64),
    /// By anything else: `reciprocal` is 2 to the power of 128, divided by it and rounded up. With
    /// so many digits, the quotient is exact for each number of 64 bits.
    Reciprocal { divisor: u64, reciprocal: u128 },
}

impl Remainder {
    fn new(divisor: u64) -> Self {
        if divisor.is_power_of_two() {
            return Remainder::Mask(divisor - 1);
        }
        Remainder::Reciprocal {
            divisor,
            reciprocal: u128::MAX / u128::from(divisor) + 1,
        }
    }

    fn extend(self, into: &mut Vec<u32>, numbers: &[u64]) {
        match self {
            Remainder::Mask(mask) => into.extend(numbers.iter().map(|n| (n & mask) as u32)),
            Remainder::Reciprocal {
                divisor,
                reciprocal,
            } => into.extend(numbers.iter().map(|n| {
                let quotient = quotient(*n, reciprocal);
                (n - quotient * divisor) as u32
            })),
        }
    }
}

/// The upper 64 of the 192 bits of a product.
fn quotient(number: u64, reciprocal: u128) -> u64 {
    let low = u128::from(number) * (reciprocal & u128::from(u64::MAX));
    let high = u128::from(number) * (reciprocal >> 64);
    ((high + (low >> 64)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, AsArray, Decimal128Array, DictionaryArray, Float64Array, Int64Array, StringArray,
        StringViewArray, UInt32Array,
    };
    use arrow::datatypes::{Int8Type, UInt32Type};
    use datafusion::physical_expr::expressions::col;
    use datafusion::physical_plan::metrics::Time;
    use datafusion::physical_plan::repartition::BatchPartitioner;

    use super::*;

    const ROWS: u32 = 5000;

    fn batch() -> RecordBatch {
        let some = |row: u32| (!row.is_multiple_of(11)).then_some(row % 1703);
        let text = |row| some(row).map(|n| format!("text number {n}"));
        let numbers = (0..ROWS).map(|row| some(row).map(i64::from));
        let floats = (0..ROWS).map(|row| some(row).map(|n| f64::from(n) / 7.0 - 3.0));
        let prices = (0..ROWS).map(|row| some(row).map(i128::from));
        let words = ["a", "b", "c", "d"];
        let letters: DictionaryArray<Int8Type> = (0..ROWS)
            .map(|row| some(row).map(|n| words[n as usize % 4]))
            .collect();
        let columns: [(&str, ArrayRef); 7] = [
            ("row", Arc::new(UInt32Array::from_iter_values(0..ROWS))),
            ("number", Arc::new(Int64Array::from_iter(numbers))),
            ("float", Arc::new(Float64Array::from_iter(floats))),
            ("price", Arc::new(Decimal128Array::from_iter(prices))),
            (
                "text",
                Arc::new(StringArray::from_iter((0..ROWS).map(text))),
            ),
            (
                "view",
                Arc::new(StringViewArray::from_iter((0..ROWS).map(text))),
            ),
            ("letter", Arc::new(letters)),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    /// The rows that DataFusion puts into each partition.
    fn by_datafusion(
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        partitions: u32,
        batch: RecordBatch,
    ) -> Vec<Vec<u32>> {
        let mut divided = vec![Vec::new(); partitions as usize];
        let mut partitioner =
            BatchPartitioner::new_hash_partitioner(exprs, partitions as usize, Time::default())
                .unwrap();
        let put = |partition: usize, rows: RecordBatch| {
            divided[partition]
                .extend_from_slice(rows.column(0).as_primitive::<UInt32Type>().values());
            Ok(())
        };
        partitioner.partition(batch, put).unwrap();
        divided
    }

    #[test]
    fn rows_belong_where_datafusion_puts_them() {
        let batch = batch();
        let schema = batch.schema();
        let names = ["number", "float", "price", "text", "view", "letter"];
        let mut keys: Vec<Vec<&str>> = names.iter().map(|name| vec![*name]).collect();
        keys.push(vec!["number", "text"]);
        keys.push(vec!["letter", "view", "price"]);
        for keys in keys {
            let exprs: Vec<_> = keys.iter().map(|key| col(key, &schema).unwrap()).collect();
            for partitions in [1, 2, 3, 7, 16, 48, 1000] {
                let mut hashed = HashPartitions::try_new(exprs.clone(), partitions).unwrap();
                // Not the first batch that it sees.
                hashed.of(&batch.slice(17, 100)).unwrap();
                let mut divided = vec![Vec::new(); partitions as usize];
                for (row, partition) in (0..).zip(hashed.of(&batch).unwrap()) {
                    divided[*partition as usize].push(row);
                }
                let expected = by_datafusion(exprs.clone(), partitions, batch.clone());
                assert_eq!(divided, expected, "{keys:?} among {partitions}");
            }
        }
    }

    #[test]
    fn remainders_are_exact() {
        let mut numbers = vec![0, 1, u64::MAX, u64::MAX - 1, u64::MAX / 2, 1 << 63];
        numbers.extend((1..1000).map(|n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        for divisor in [1, 2, 3, 5, 7, 48, 64, 1000, 65_537, u32::MAX - 1, u32::MAX] {
            let divisor = u64::from(divisor);
            // Just beside where the quotient changes.
            let near = (1..=50).flat_map(|n| [u64::MAX / divisor / n * divisor, divisor * n]);
            let near = near.flat_map(|n| [n - 1, n, n.saturating_add(1)]);
            let numbers: Vec<u64> = numbers.iter().copied().chain(near).collect();
            let mut remainders = Vec::new();
            Remainder::new(divisor).extend(&mut remainders, &numbers);
            for (number, remainder) in numbers.iter().zip(remainders) {
                assert_eq!(
                    u64::from(remainder),
                    number % divisor,
                    "{number} % {divisor}"
                );
            }
        }
    }

    #[test]
    fn there_has_to_be_a_partition() {
        assert!(HashPartitions::try_new(vec![], 0).is_err());
    }
}
