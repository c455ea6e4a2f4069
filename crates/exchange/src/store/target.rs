//! The one file of an output, put together partition by partition from memory and runs.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::ipc::writer::IpcWriteContext;

use super::disk::{DiskFile, DiskFrame, ReadFault};
use super::manifest::{FrameEntry, Manifest, PartitionEntry, Trailer};
use super::output::{Output, Slot};
use crate::error::StoreError;
use crate::frame::{Encoded, FRAME_BYTES, FRAME_ROWS, Packing, is_damaged};

/// The file that is being put together, under a temporary name. Removed if it does not come to its
/// commit.
pub(super) struct Target<'a> {
    output: &'a Output,
    temporary: Option<PathBuf>,
    writer: BufWriter<File>,
    at: u64,
    manifest: Manifest,
    context: IpcWriteContext,
}

impl<'a> Target<'a> {
    pub(super) fn create(output: &'a Output) -> Result<Self, StoreError> {
        let path = output.path.with_extension("tmp");
        let file = File::create_new(&path).map_err(|e| StoreError::io("create", &path, e))?;
        Ok(Target {
            output,
            temporary: Some(path),
            writer: BufWriter::with_capacity(1 << 20, file),
            at: 0,
            manifest: Manifest {
                range: output.range,
                partitions: Vec::with_capacity(output.parts.len()),
            },
            context: IpcWriteContext::default(),
        })
    }

    pub(super) fn write_partition(&mut self, index: usize) -> Result<(), StoreError> {
        self.manifest.partitions.push(PartitionEntry::default());
        let Some(part) = self.output.parts.get(index) else {
            return Ok(());
        };
        let (slots, join) = {
            let mut part = part.lock();
            self.output.complete_pending(&mut part);
            part.rewriting = !part.followed && has_small_frames(&part.slots);
            (part.slots.clone(), part.rewriting)
        };
        if join {
            return self.write_joined(&slots);
        }
        for slot in &slots {
            let encoded = self.encoded(slot)?;
            self.write_frame(&encoded)?;
        }
        Ok(())
    }

    /// Writes the frames of a partition that was spilled in small bits as fewer, larger ones.
    fn write_joined(&mut self, slots: &[Slot]) -> Result<(), StoreError> {
        let mut gathered: Vec<RecordBatch> = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        for slot in slots {
            let (batch, size) = match slot {
                Slot::Memory(frame) => (frame.batch.clone(), frame.used),
                Slot::Disk(frame) => (self.decoded(frame)?, frame.bytes),
            };
            rows += batch.num_rows();
            bytes += size;
            gathered.push(batch);
            if rows >= FRAME_ROWS || bytes >= FRAME_BYTES {
                self.write_gathered(&mut gathered)?;
                (rows, bytes) = (0, 0);
            }
        }
        self.write_gathered(&mut gathered)
    }

    fn write_gathered(&mut self, gathered: &mut Vec<RecordBatch>) -> Result<(), StoreError> {
        let batches = std::mem::take(gathered);
        if batches.is_empty() {
            return Ok(());
        }
        // Dictionaries whose keys do not suffice for all values stay apart.
        let joined = concat_batches(self.output.codec.schema(), &batches)
            .map_or(batches, |batch| vec![batch]);
        for batch in joined {
            let encoded = self.encode(&batch)?;
            self.write_frame(&encoded)?;
        }
        Ok(())
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<Encoded, StoreError> {
        let codec = &self.output.codec;
        let encoded = codec.encode(batch, Packing::Compressed, &mut self.context);
        encoded.map_err(|source| StoreError::Encode {
            output: self.output.id,
            source,
        })
    }

    fn encoded(&mut self, slot: &Slot) -> Result<Encoded, StoreError> {
        match slot {
            Slot::Memory(frame) => self.encode(&frame.batch),
            Slot::Disk(frame) => self.spilled(frame),
        }
    }

    fn spilled(&self, frame: &DiskFrame) -> Result<Encoded, StoreError> {
        let path = frame.file.path();
        let read = frame.file.open().and_then(|file| frame.read_from(&file));
        let bytes = read.map_err(|fault| match fault {
            ReadFault::Resource(detail) | ReadFault::Damaged(detail) => {
                StoreError::io("read", path, std::io::Error::other(detail))
            }
        })?;
        if is_damaged(&bytes, frame.crc32) {
            return Err(StoreError::Damaged {
                output: self.output.id,
            });
        }
        Ok(Encoded {
            bytes,
            rows: frame.rows,
            crc32: frame.crc32,
        })
    }

    fn decoded(&self, frame: &DiskFrame) -> Result<RecordBatch, StoreError> {
        let encoded = self.spilled(frame)?;
        let batch = self.output.codec.decode(encoded.bytes);
        batch.map_err(|source| StoreError::Encode {
            output: self.output.id,
            source,
        })
    }

    fn write_frame(&mut self, encoded: &Encoded) -> Result<(), StoreError> {
        self.write(&encoded.bytes)?;
        let bytes = encoded.bytes.len() as u64;
        if let Some(partition) = self.manifest.partitions.last_mut() {
            let mut whole =
                crc32fast::Hasher::new_with_initial_len(partition.crc32, partition.bytes);
            whole.combine(&crc32fast::Hasher::new_with_initial_len(
                encoded.crc32,
                bytes,
            ));
            partition.crc32 = whole.finalize();
            partition.rows += u64::from(encoded.rows);
            partition.bytes += bytes;
            partition.frames.push(FrameEntry {
                offset: self.at - bytes,
                bytes,
                rows: encoded.rows,
                crc32: encoded.crc32,
            });
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let path = &self.output.path;
        let written = self.writer.write_all(bytes);
        written.map_err(|e| StoreError::io("write", path, e))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn commit(mut self) -> Result<(DiskFile, Manifest), StoreError> {
        let (bytes, trailer): (Vec<u8>, Trailer) = self.manifest.encode(self.at);
        self.write(&bytes)?;
        let path = self.output.path.clone();
        // Flushed to the system, not to the device: an output never outlives its process, let
        // alone the machine's next start.
        let flushed = self.writer.flush();
        flushed.map_err(|e| StoreError::io("write", &path, e))?;
        if let Some(temporary) = self.temporary.take() {
            fs::rename(&temporary, &path).map_err(|e| {
                let _ = fs::remove_file(&temporary);
                StoreError::io("rename", &temporary, e)
            })?;
        }
        let usage = Arc::clone(&self.output.disk);
        let file = DiskFile::committed(path, self.at, trailer, usage);
        let range = self.manifest.range;
        let partitions = std::mem::take(&mut self.manifest.partitions);
        Ok((file, Manifest { range, partitions }))
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            let _ = fs::remove_file(temporary);
        }
    }
}

/// Whether spilling left many frames much smaller than they should be.
fn has_small_frames(slots: &[Slot]) -> bool {
    let (mut rows, mut bytes) = (0, 0);
    for slot in slots {
        let (more_rows, more_bytes) = match slot {
            Slot::Memory(frame) => (frame.batch.num_rows() as u64, frame.used),
            Slot::Disk(frame) => (u64::from(frame.rows), frame.bytes),
        };
        rows += more_rows;
        bytes += more_bytes;
    }
    let count = slots.len() as u64;
    count > 1 && rows < count * FRAME_ROWS as u64 / 4 && bytes < count * FRAME_BYTES / 4
}
