//! Writing one output.

use std::sync::Arc;

use arrow::array::RecordBatch;
use paceline_model::OutputSummary;

use super::output::Output;
use super::registry::OutputStore;
use crate::error::{LostReason, StoreError};
use crate::frame::{Piece, compact, with_schema};

/// Writes the output of one attempt. Dropped without [`finish`](Self::finish), it leaves nothing
/// behind, and whoever followed the output finds it lost.
#[derive(Debug)]
pub struct OutputWriter {
    store: OutputStore,
    output: Arc<Output>,
    finished: bool,
}

impl OutputWriter {
    pub(crate) fn new(store: OutputStore, output: Arc<Output>) -> Self {
        OutputWriter {
            store,
            output,
            finished: false,
        }
    }

    /// Adds rows to a partition. Any number of tasks may write at the same time; rows that one of
    /// them adds to a partition stay in order. Never waits for a reader: when the store's memory is
    /// used up, what this attempt has buffered goes to disk.
    ///
    /// Dropping the future leaves the rows added or not.
    ///
    /// # Errors
    /// [`StoreError`]; the output is of no use after that, and the writer is to be dropped.
    pub async fn write(&self, partition: u32, batch: RecordBatch) -> Result<(), StoreError> {
        let output = &self.output;
        if !output.range.contains(partition) {
            return Err(StoreError::UnknownPartition {
                output: output.id,
                partition,
                range: output.range,
            });
        }
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let measured = with_schema(batch, output.codec.schema())
            .and_then(compact)
            .map_err(|source| StoreError::Schema {
                output: output.id,
                source,
            })?;
        let bytes = measured.retained;
        let charge = match output.account.try_charge(bytes) {
            Some(charge) => charge,
            None => {
                if output.account.used() + bytes > output.attempt_buffer {
                    output.spill(bytes).await?;
                }
                output.account.charge(bytes)
            }
        };
        output.add(
            partition,
            Piece {
                batch: measured.batch,
                used: measured.used,
                charge,
            },
        )
    }

    /// Makes the output whole and readable by all.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing is left of it.
    pub async fn finish(mut self) -> Result<OutputSummary, StoreError> {
        let summary = self.output.finish().await?;
        self.finished = true;
        Ok(summary)
    }
}

impl Drop for OutputWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.store.forget(&self.output, LostReason::Aborted);
        }
    }
}
