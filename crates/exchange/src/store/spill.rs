//! From memory to a run on disk.

use std::sync::Arc;

use arrow::ipc::writer::IpcWriteContext;
use tokio::sync::OwnedMutexGuard;

use super::disk::{DiskFile, DiskFrame};
use super::output::{MemoryFrame, Output, Slot};
use crate::error::StoreError;
use crate::frame::{Encoded, Packing};

/// Bytes that are written with one call.
const WRITE_BYTES: usize = 1 << 20;

type Runs = OwnedMutexGuard<Option<Arc<DiskFile>>>;

impl Output {
    /// Writes all that the output has in memory to a run, if it still has more than an attempt may
    /// buffer by the time that it is its turn.
    pub(crate) async fn spill(self: &Arc<Self>, incoming: u64) -> Result<(), StoreError> {
        let runs = Arc::clone(&self.runs).lock_owned().await;
        if self.account.used() + incoming <= self.attempt_buffer {
            return Ok(());
        }
        // All of it happens in the blocking task, the lock included: if the writer is dropped
        // meanwhile, the run is finished or found to be unwanted all the same.
        let output = Arc::clone(self);
        tokio::task::spawn_blocking(move || output.spill_blocking(runs))
            .await
            .map_err(|error| StoreError::not_joined(self.id, error))?
    }

    fn spill_blocking(&self, mut runs: Runs) -> Result<(), StoreError> {
        let file = match runs.as_ref() {
            Some(file) => Arc::clone(file),
            None => {
                let path = self.path.with_extension("runs");
                let file = DiskFile::create_runs(path.clone(), Arc::clone(&self.disk))
                    .map_err(|e| StoreError::io("create", &path, e))?;
                Arc::clone(runs.insert(Arc::new(file)))
            }
        };
        self.metrics.spills.inc();
        let mut run = Run {
            output: self,
            file,
            context: IpcWriteContext::default(),
            buffer: Vec::new(),
            moving: Vec::new(),
        };
        for index in 0..self.parts.len() {
            run.take_partition(index)?;
        }
        run.write()?;
        // Released meanwhile: nobody else could remove the file while this held the lock.
        if !self.is_writing()
            && let Some(file) = runs.take()
        {
            file.remove();
        }
        // Frames of partitions that nobody had completed became visible.
        self.signal.send_replace(());
        Ok(())
    }
}

struct Run<'a> {
    output: &'a Output,
    file: Arc<DiskFile>,
    context: IpcWriteContext,
    buffer: Vec<u8>,
    moving: Vec<Moving>,
}

/// A frame whose bytes are in the buffer.
struct Moving {
    part: usize,
    number: usize,
    from: Arc<MemoryFrame>,
    at: usize,
    encoded: Encoded,
}

impl Run<'_> {
    fn take_partition(&mut self, index: usize) -> Result<(), StoreError> {
        for (number, from) in self.output.memory_frames(index) {
            let encoded = self
                .output
                .codec
                .encode(&from.batch, Packing::Compressed, &mut self.context)
                .map_err(|source| StoreError::Encode {
                    output: self.output.id,
                    source,
                })?;
            let at = self.buffer.len();
            self.buffer.extend_from_slice(&encoded.bytes);
            self.moving.push(Moving {
                part: index,
                number,
                from,
                at,
                encoded,
            });
            if self.buffer.len() >= WRITE_BYTES {
                self.write()?;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let start = self
            .file
            .append(&self.buffer)
            .map_err(|e| StoreError::io("write", self.file.path(), e))?;
        self.buffer.clear();
        for moving in self.moving.drain(..) {
            let frame = DiskFrame {
                file: Arc::clone(&self.file),
                offset: start + moving.at as u64,
                bytes: moving.encoded.bytes.len() as u64,
                rows: moving.encoded.rows,
                crc32: moving.encoded.crc32,
            };
            self.output
                .move_frame(moving.part, moving.number, &moving.from, frame);
        }
        Ok(())
    }
}

impl Output {
    /// All frames of the partition that are in memory, the incomplete one too, with their numbers.
    fn memory_frames(&self, index: usize) -> Vec<(usize, Arc<MemoryFrame>)> {
        let Some(part) = self.parts.get(index) else {
            return Vec::new();
        };
        let mut part = part.lock();
        self.complete_pending(&mut part);
        let slots = part.slots.iter().enumerate();
        slots
            .filter_map(|(number, slot)| match slot {
                Slot::Memory(frame) => Some((number, Arc::clone(frame))),
                Slot::Disk(_) => None,
            })
            .collect()
    }

    fn move_frame(&self, index: usize, number: usize, from: &Arc<MemoryFrame>, to: DiskFrame) {
        let Some(part) = self.parts.get(index) else {
            return;
        };
        let mut part = part.lock();
        // Not there any more if the output was released meanwhile.
        if let Some(slot) = part.slots.get_mut(number)
            && matches!(slot, Slot::Memory(frame) if Arc::ptr_eq(frame, from))
        {
            *slot = Slot::Disk(to);
        }
    }
}
