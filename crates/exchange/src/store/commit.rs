//! How an output becomes whole: in memory, or as the one file that takes the place of its runs.

use std::sync::Arc;

use paceline_model::OutputSummary;
use tokio::sync::OwnedMutexGuard;

use super::disk::{DiskFile, DiskFrame};
use super::manifest::FrameEntry;
use super::output::{Output, Slot};
use super::target::Target;
use crate::error::StoreError;
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

#[cfg(test)]
mod tests;
