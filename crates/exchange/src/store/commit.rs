//! From runs to the one file of a finished output, partition by partition.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::ipc::writer::IpcWriteContext;
use paceline_model::OutputSummary;
use tokio::sync::OwnedMutexGuard;

use super::disk::{DiskFile, DiskFrame, ReadFault};
use super::manifest::{FrameEntry, Manifest, PartitionEntry, Trailer};
use super::output::{Output, Slot};
use crate::error::StoreError;
use crate::frame::{Encoded, FRAME_BYTES, FRAME_ROWS, Packing, is_damaged};
use crate::metrics::Tier;

type Runs = OwnedMutexGuard<Option<Arc<DiskFile>>>;

impl Output {
    /// Makes the output whole: in memory if all of it is there and may stay, else as one file. What an
    /// attempt may buffer beyond the limit, it may only while it writes.
    pub(crate) async fn finish(self: &Arc<Self>) -> Result<OutputSummary, StoreError> {
        let runs = Arc::clone(&self.runs).lock_owned().await;
        if runs.is_none() {
            for part in &self.parts {
                self.complete_pending(&mut part.lock());
            }
            if !self.account.is_too_much() {
                let summary = self.summary(0);
                self.commit(summary.clone())?;
                self.metrics.stored(Tier::Memory, summary.bytes);
                return Ok(summary);
            }
        }
        // As with spilling, it all happens in the blocking task, so that it is cleaned up however
        // this future ends.
        let output = Arc::clone(self);
        tokio::task::spawn_blocking(move || output.finish_on_disk(runs))
            .await
            .map_err(|error| StoreError::not_joined(self.id, error))?
    }

    fn finish_on_disk(&self, mut runs: Runs) -> Result<OutputSummary, StoreError> {
        let mut target = Target::create(self)?;
        for index in 0..self.parts.len() {
            target.write_partition(index)?;
        }
        let (file, manifest) = target.commit()?;
        // The file is complete and has its name. From here on nothing can fail but that the output
        // is unwanted by now; then dropping the file removes it.
        let file = Arc::new(file);
        for (part, entry) in self.parts.iter().zip(&manifest.partitions) {
            part.lock().slots = entry
                .frames
                .iter()
                .map(|frame| slot(&file, frame))
                .collect();
        }
        if let Some(runs) = runs.take() {
            runs.remove();
        }
        let summary = self.summary(file.bytes());
        if let Err(error) = self.commit(summary.clone()) {
            for part in &self.parts {
                part.lock().slots.clear();
            }
            file.remove();
            return Err(error);
        }
        self.metrics.stored(Tier::Disk, file.bytes());
        Ok(summary)
    }
}

fn slot(file: &Arc<DiskFile>, frame: &FrameEntry) -> Slot {
    Slot::Disk(DiskFrame {
        file: Arc::clone(file),
        offset: frame.offset,
        bytes: frame.bytes,
        rows: frame.rows,
        crc32: frame.crc32,
    })
}

/// The file that is being put together, under a temporary name. Removed if it does not come to its
/// commit.
struct Target<'a> {
    output: &'a Output,
    temporary: Option<PathBuf>,
    writer: BufWriter<File>,
    at: u64,
    manifest: Manifest,
    context: IpcWriteContext,
}

impl<'a> Target<'a> {
    fn create(output: &'a Output) -> Result<Self, StoreError> {
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

    fn write_partition(&mut self, index: usize) -> Result<(), StoreError> {
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

    fn commit(mut self) -> Result<(DiskFile, Manifest), StoreError> {
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

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use paceline_model::{
        Attempt, ByteSize, ErrorClass, OutputId, PartitionRange, QueryId, StageId, TaskId,
    };
    use prometheus::Registry;
    use uuid::Uuid;

    use super::*;
    use crate::frame::Piece;
    use crate::{ExchangeMetrics, OutputStore, StoreOptions, StoreUsage};

    const OUTPUT: OutputId = OutputId {
        query: QueryId(Uuid::nil()),
        stage: StageId(0),
        task: TaskId(0),
        attempt: Attempt(0),
    };

    /// A store that keeps nothing in memory.
    fn on_disk(directory: &tempfile::TempDir) -> OutputStore {
        let options = StoreOptions {
            memory_limit: ByteSize(0),
            attempt_buffer: ByteSize(64 << 10),
            ..StoreOptions::new(directory.path())
        };
        let metrics = ExchangeMetrics::register(&Registry::new()).unwrap();
        OutputStore::open(options, metrics).unwrap()
    }

    /// So many columns of numbers.
    fn numbers(columns: usize) -> Arc<Schema> {
        let fields = (0..columns).map(|n| Field::new(n.to_string(), DataType::Int64, false));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    fn thousand(schema: &Arc<Schema>, first: i64) -> RecordBatch {
        let numbers = Int64Array::from_iter_values(first..first + 1000);
        let columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(numbers)];
        RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
    }

    /// A batch that lacks a column cannot be written here. Arrow does not say so where it joins batches:
    /// it looks for the column.
    #[tokio::test]
    async fn a_panic_while_a_file_is_written_is_told_as_one() {
        let directory = tempfile::tempdir().unwrap();
        let store = on_disk(&directory);
        let writer = store
            .create(OUTPUT, numbers(2), PartitionRange::new(0, 1))
            .unwrap();
        let output = store.get(&OUTPUT).unwrap();
        for first in [0, 1000] {
            let piece = Piece {
                batch: thousand(&numbers(1), first),
                used: 8000,
                charge: output.account.charge(8000),
            };
            output.add(0, piece).unwrap();
            output.complete_pending(&mut output.parts[0].lock());
        }
        let error = writer.finish().await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Bug, "{error}");
        assert!(error.to_string().contains("index is 1"), "{error}");
        drop(output);
        assert_eq!(store.usage(), StoreUsage::default(), "nothing is left");
    }

    #[tokio::test]
    async fn the_file_has_one_partition_after_the_other_however_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let store = on_disk(&directory);
        let (id, schema) = (OUTPUT, numbers(1));
        let range = PartitionRange::new(3, 4);
        let writer = store.create(id, Arc::clone(&schema), range).unwrap();
        for round in 0..20 {
            for partition in range.iter() {
                let batch = thousand(&schema, round * 1000);
                writer.write(partition, batch).await.unwrap();
            }
        }
        let summary = writer.finish().await.unwrap();

        let output = store.get(&id).unwrap();
        let file = fs::read(&output.path).unwrap();
        assert_eq!(file.len() as u64, summary.disk_bytes);
        let manifest = Manifest::parse(&file).unwrap();
        assert_eq!(manifest.range, range);
        let mut at = 0;
        for partition in &manifest.partitions {
            assert_eq!(partition.rows, 20_000);
            for frame in &partition.frames {
                assert_eq!(frame.offset, at, "partitions lie side by side, in order");
                at += frame.bytes;
            }
        }
    }
}
