//! One output: its partitions, frame by frame, wherever they lie.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::writer::IpcWriteContext;
use paceline_model::{OutputId, OutputSummary, PartitionRange};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::budget::{Account, Charge};
use super::disk::{DiskFile, DiskFrame, DiskUsage};
use crate::error::{LostReason, StoreError};
use crate::frame::{Encoded, FrameCodec, Packing, Pending, Piece, split};
use crate::metrics::{ExchangeMetrics, Tier};

/// Changes whenever there may be something new for those who follow the outputs of a stage.
pub(crate) type Signal = watch::Sender<()>;

/// A frame in memory.
#[derive(Debug)]
pub(crate) struct MemoryFrame {
    pub(crate) batch: RecordBatch,
    pub(crate) used: u64,
    _charge: Charge,
    encoded: Mutex<Option<(Encoded, Charge)>>,
}

impl MemoryFrame {
    fn new(piece: Piece) -> Self {
        MemoryFrame {
            batch: piece.batch,
            used: piece.used,
            _charge: piece.charge,
            encoded: Mutex::new(None),
        }
    }

    /// The frame as bytes. With `keep`, they are kept for the next reader if there is room and they
    /// took more than a copy to make. Takes a millisecond or so of CPU.
    pub(crate) fn encode(
        &self,
        output: &Output,
        packing: Packing,
        keep: bool,
    ) -> Result<Encoded, ArrowError> {
        let encode = || {
            let mut context = IpcWriteContext::default();
            output.codec.encode(&self.batch, packing, &mut context)
        };
        if !keep || packing == Packing::Plain {
            return encode();
        }
        // Held while encoding, so that readers that come at once do it once.
        let mut kept = self.encoded.lock();
        if let Some((encoded, _)) = kept.as_ref() {
            return Ok(encoded.clone());
        }
        let encoded = encode()?;
        *kept = output
            .account
            .try_charge_for_cache(encoded.bytes.len() as u64)
            .map(|charge| (encoded.clone(), charge));
        Ok(encoded)
    }
}

/// Where one frame lies now. It may move from memory to a run and to the final file, but its number
/// within the partition and its rows stay the same for whoever has read any frame of the partition.
#[derive(Debug, Clone)]
pub(crate) enum Slot {
    Memory(Arc<MemoryFrame>),
    Disk(DiskFrame),
}

impl Slot {
    pub(crate) fn tier(&self) -> Tier {
        match self {
            Slot::Memory(_) => Tier::Memory,
            Slot::Disk(_) => Tier::Disk,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) slots: Vec<Slot>,
    pub(crate) pending: Pending,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Somebody has read a frame; frames must keep their numbers from now on.
    pub(crate) followed: bool,
    /// Small frames are being joined into larger ones: nobody may begin to read until it is done.
    pub(crate) rewriting: bool,
}

#[derive(Debug)]
pub(crate) enum Phase {
    Writing,
    Committed(OutputSummary),
    Gone(LostReason),
}

/// What there is at a place in a partition.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// This frame.
    Frame(Slot),
    /// Nothing yet: wait for the signal.
    Wait,
    /// The end of the partition; also if the output does not have that partition.
    End,
    /// Nothing any more.
    Lost(LostReason),
}

/// One output of this process.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) id: OutputId,
    pub(crate) range: PartitionRange,
    pub(crate) codec: FrameCodec,
    pub(crate) account: Arc<Account>,
    pub(crate) attempt_buffer: u64,
    pub(crate) path: PathBuf,
    pub(crate) disk: Arc<DiskUsage>,
    pub(crate) metrics: ExchangeMetrics,
    pub(crate) parts: Vec<Mutex<Part>>,
    pub(crate) phase: Mutex<Phase>,
    /// The file of runs, if there is one. Whoever holds the lock is the only one who writes to disk
    /// for this output.
    pub(crate) runs: Arc<tokio::sync::Mutex<Option<Arc<DiskFile>>>>,
    pub(crate) signal: Arc<Signal>,
}

impl Output {
    fn part(&self, partition: u32) -> Option<&Mutex<Part>> {
        let index = partition.checked_sub(self.range.first)?;
        self.parts.get(index as usize)
    }

    pub(crate) fn is_writing(&self) -> bool {
        matches!(*self.phase.lock(), Phase::Writing)
    }

    /// What there is for a reader that has read `number` frames of the partition.
    pub(crate) fn lookup(&self, partition: u32, number: usize, follow: bool) -> Lookup {
        let Some(part) = self.part(partition) else {
            return self.lookup_outside();
        };
        // The phase is read while the partition is locked: if it says that all is written, then
        // all was written before the frames were looked at.
        let mut part = part.lock();
        let committed = match &*self.phase.lock() {
            Phase::Gone(reason) => return Lookup::Lost(reason.clone()),
            Phase::Committed(_) => true,
            Phase::Writing if follow => false,
            Phase::Writing => return Lookup::Lost(LostReason::Unfinished),
        };
        if !committed && part.rewriting {
            return Lookup::Wait;
        }
        match part.slots.get(number).cloned() {
            Some(slot) => {
                part.followed = true;
                Lookup::Frame(slot)
            }
            None if committed => Lookup::End,
            None => Lookup::Wait,
        }
    }

    fn lookup_outside(&self) -> Lookup {
        match &*self.phase.lock() {
            Phase::Gone(reason) => Lookup::Lost(reason.clone()),
            _ => Lookup::End,
        }
    }

    /// Adds rows to a partition, in memory.
    pub(crate) fn add(&self, partition: u32, piece: Piece) -> Result<(), StoreError> {
        let Some(part) = self.part(partition) else {
            return Err(StoreError::UnknownPartition {
                output: self.id,
                partition,
                range: self.range,
            });
        };
        let mut part = part.lock();
        if !self.is_writing() {
            return Err(StoreError::Released { output: self.id });
        }
        part.rows += piece.batch.num_rows() as u64;
        part.bytes += piece.used;
        let before = part.slots.len();
        if piece.fills_frame() || (part.pending.is_empty() && piece.fills_half()) {
            self.complete_pending(&mut part);
            let frames = split(piece).map_err(|source| StoreError::Encode {
                output: self.id,
                source,
            })?;
            push_frames(&mut part, frames);
        } else {
            part.pending.push(piece, self.codec.schema(), &self.account);
            if part.pending.is_full() {
                self.complete_pending(&mut part);
            }
        }
        let grown = part.slots.len() > before;
        drop(part);
        if grown {
            self.signal.send_replace(());
        }
        Ok(())
    }

    /// Makes frames of what waits to become one.
    pub(crate) fn complete_pending(&self, part: &mut Part) {
        if !part.pending.is_empty() {
            let pieces = part.pending.take(self.codec.schema(), &self.account);
            push_frames(part, pieces);
        }
    }

    /// Makes the output whole, unless it is gone by now.
    pub(crate) fn commit(&self, summary: OutputSummary) -> Result<(), StoreError> {
        let mut phase = self.phase.lock();
        match &*phase {
            Phase::Writing => *phase = Phase::Committed(summary),
            Phase::Committed(_) | Phase::Gone(_) => {
                return Err(StoreError::Released { output: self.id });
            }
        }
        drop(phase);
        self.signal.send_replace(());
        Ok(())
    }

    /// Frees memory and files at once; readers find the output lost.
    pub(crate) fn discard(&self, reason: LostReason) {
        {
            let mut phase = self.phase.lock();
            if matches!(*phase, Phase::Gone(_)) {
                return;
            }
            *phase = Phase::Gone(reason);
        }
        for part in &self.parts {
            let mut part = part.lock();
            part.pending = Pending::default();
            for slot in std::mem::take(&mut part.slots) {
                if let Slot::Disk(frame) = slot {
                    frame.file.remove();
                }
            }
        }
        // If it is locked, a spill or a commit is under way; it finds the output gone and cleans up.
        if let Ok(mut runs) = self.runs.try_lock()
            && let Some(file) = runs.take()
        {
            file.remove();
        }
        self.signal.send_replace(());
    }

    pub(crate) fn summary(&self, disk_bytes: u64) -> OutputSummary {
        let mut summary = OutputSummary {
            disk_bytes,
            ..OutputSummary::default()
        };
        for part in &self.parts {
            let part = part.lock();
            summary.rows += part.rows;
            summary.bytes += part.bytes;
            summary.partition_bytes.push(part.bytes);
        }
        summary
    }
}

fn push_frames(part: &mut Part, pieces: Vec<Piece>) {
    let frames = pieces.into_iter().map(MemoryFrame::new);
    part.slots
        .extend(frames.map(|frame| Slot::Memory(Arc::new(frame))));
}
