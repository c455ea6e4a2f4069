//! Reading an output of this process: no copy, no connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use paceline_model::OutputId;
use tokio::sync::watch;

use super::budget::ReadBudget;
use super::fault::Fault;
use crate::error::LostReason;
use crate::frame::{FrameCodec, is_damaged, with_schema};
use crate::store::{Lookup, OpenFile, Output, OutputStore, Slot};

/// A place in one partition of one output.
#[derive(Debug)]
pub(crate) struct LocalCursor {
    store: OutputStore,
    output: Arc<Output>,
    partition: u32,
    number: usize,
    follow: bool,
    file: OpenFile,
    signal: watch::Receiver<()>,
}

impl LocalCursor {
    pub(crate) fn open(
        store: &OutputStore,
        id: &OutputId,
        partition: u32,
        follow: bool,
    ) -> Result<Self, Fault> {
        let output = store.get(id).ok_or(LostReason::Missing)?;
        Ok(LocalCursor {
            store: store.clone(),
            signal: output.signal.subscribe(),
            output,
            partition,
            number: 0,
            follow,
            file: OpenFile::default(),
        })
    }

    /// The next batch; none at the end of the partition. If this is dropped before it is ready, the
    /// batch is not skipped.
    pub(crate) async fn next(
        &mut self,
        codec: &FrameCodec,
        read: &ReadBudget,
    ) -> Result<Option<RecordBatch>, Fault> {
        let slot = loop {
            // Before looking, so that a change after the look is noticed.
            self.signal.mark_unchanged();
            match self.output.lookup(self.partition, self.number, self.follow) {
                Lookup::Frame(slot) => break slot,
                Lookup::End => return Ok(None),
                Lookup::Lost(reason) => return Err(reason.into()),
                // The sender lives in the output.
                Lookup::Wait => drop(self.signal.changed().await),
            }
        };
        let (batch, bytes) = self.batch(codec, &slot).await?;
        self.number += 1;
        self.store.metrics().served(true, slot.tier(), bytes);
        read.local.fetch_add(bytes, Ordering::Relaxed);
        Ok(Some(batch))
    }

    async fn batch(
        &mut self,
        codec: &FrameCodec,
        slot: &Slot,
    ) -> Result<(RecordBatch, u64), Fault> {
        let frame = match slot {
            Slot::Memory(frame) => {
                let batch = with_schema(frame.batch.clone(), codec.schema())?;
                return Ok((batch, frame.used));
            }
            Slot::Disk(frame) => frame,
        };
        let bytes = match self.file.read(frame).await {
            Ok(bytes) => bytes,
            Err(fault) => return Err(self.store.unreadable(&self.output, fault).into()),
        };
        if is_damaged(&bytes, frame.crc32) {
            self.store.forget(&self.output, LostReason::Checksum);
            return Err(LostReason::Checksum.into());
        }
        Ok((codec.decode(bytes)?, frame.bytes))
    }
}
