//! All outputs of this process, by name.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arrow::datatypes::SchemaRef;
use paceline_model::{OutputId, OutputSummary, PartitionRange, QueryId, StageId};
use parking_lot::Mutex;

use super::budget::{Account, MemoryBudget};
use super::disk::{DiskUsage, ReadFault};
use super::home::Home;
use super::output::{Output, Part, Phase, Signal};
use super::writer::OutputWriter;
use crate::error::{LostReason, StoreError};
use crate::frame::FrameCodec;
use crate::metrics::ExchangeMetrics;
use crate::options::StoreOptions;

/// What the outputs of a store occupy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Bytes of batches in memory.
    pub memory_bytes: u64,
    /// Bytes in files.
    pub disk_bytes: u64,
    /// Outputs, those being written included.
    pub outputs: usize,
}

/// The outputs that this process holds. Cheap to clone; when the last clone is gone, so are all
/// outputs.
#[derive(Debug, Clone)]
pub struct OutputStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: StoreOptions,
    budget: Arc<MemoryBudget>,
    disk: Arc<DiskUsage>,
    metrics: ExchangeMetrics,
    outputs: Mutex<HashMap<QueryId, OfQuery>>,
    // Last, so that outputs have removed their files before it removes the directory.
    home: Home,
}

/// What a failed read means.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Lost(LostReason),
    Resource(String),
}

#[derive(Debug, Default)]
struct OfQuery {
    outputs: BTreeMap<OutputId, Arc<Output>>,
    /// One for each stage: a stream that reads many outputs of a stage waits for one thing.
    signals: HashMap<StageId, Weak<Signal>>,
}

impl OutputStore {
    /// Takes the directory and removes what earlier processes left in it.
    ///
    /// # Errors
    /// [`StoreError`] if the directory cannot be made or written to.
    pub fn open(options: StoreOptions, metrics: ExchangeMetrics) -> Result<Self, StoreError> {
        let home = Home::take(&options.directory)?;
        tracing::debug!(path = %home.path().display(), "exchange directory taken");
        let budget = MemoryBudget::new(options.memory_limit.0, metrics.memory_bytes.clone());
        let disk = DiskUsage {
            used: AtomicU64::new(0),
            gauge: metrics.disk_bytes.clone(),
        };
        Ok(OutputStore {
            inner: Arc::new(Inner {
                options,
                budget: Arc::new(budget),
                disk: Arc::new(disk),
                metrics,
                outputs: Mutex::default(),
                home,
            }),
        })
    }

    /// A directory for files that are to be gone when this process is, however it ends: at the latest
    /// whoever opens a store beside this one removes them. They must not outlive the store.
    pub fn scratch(&self) -> &Path {
        self.inner.home.scratch()
    }

    /// Begins an output that has these partitions.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the output is there already, [`StoreError::Schema`] if Arrow cannot
    /// encode such columns.
    pub fn create(
        &self,
        id: OutputId,
        schema: SchemaRef,
        partitions: PartitionRange,
    ) -> Result<OutputWriter, StoreError> {
        let inner = &self.inner;
        let codec = FrameCodec::new(schema, inner.options.compression)
            .map_err(|source| StoreError::Schema { output: id, source })?;
        let mut outputs = inner.outputs.lock();
        let of_query = outputs.entry(id.query).or_default();
        if of_query.outputs.contains_key(&id) {
            return Err(StoreError::Exists { output: id });
        }
        let output = Arc::new(Output {
            id,
            range: partitions,
            codec,
            account: Account::new(Arc::clone(&inner.budget)),
            attempt_buffer: inner.options.attempt_buffer.0,
            path: inner.home.file(&id),
            disk: Arc::clone(&inner.disk),
            metrics: inner.metrics.clone(),
            parts: partitions
                .iter()
                .map(|_| Mutex::new(Part::default()))
                .collect(),
            phase: Mutex::new(Phase::Writing),
            runs: Arc::default(),
            signal: of_query.signal(id.stage),
        });
        of_query.outputs.insert(id, Arc::clone(&output));
        inner.metrics.outputs.inc();
        Ok(OutputWriter::new(self.clone(), output))
    }

    /// Drops an output, finished or not. Its memory and files are free at once, and its readers find
    /// it lost.
    pub fn release(&self, id: &OutputId) {
        if let Some(output) = self.get(id) {
            self.forget(&output, LostReason::Released);
        }
    }

    /// Whether any output of a query is held, finished or not.
    pub fn holds(&self, query: QueryId) -> bool {
        self.inner.outputs.lock().contains_key(&query)
    }

    /// Drops all outputs of a query.
    pub fn release_query(&self, query: QueryId) {
        let of_query = self.inner.outputs.lock().remove(&query);
        for output in of_query.into_iter().flat_map(|q| q.outputs.into_values()) {
            self.inner.metrics.outputs.dec();
            output.discard(LostReason::Released);
        }
    }

    /// What the outputs occupy.
    pub fn usage(&self) -> StoreUsage {
        let outputs = self.inner.outputs.lock();
        StoreUsage {
            memory_bytes: self.inner.budget.used(),
            disk_bytes: self.inner.disk.used.load(Ordering::Relaxed),
            outputs: outputs.values().map(|q| q.outputs.len()).sum(),
        }
    }

    /// Every finished output, for an executor's inventory.
    pub fn finished(&self) -> Vec<(OutputId, OutputSummary)> {
        let outputs = self.inner.outputs.lock();
        let all = outputs.values().flat_map(|q| q.outputs.values());
        all.filter_map(|output| match &*output.phase.lock() {
            Phase::Committed(summary) => Some((output.id, summary.clone())),
            Phase::Writing | Phase::Gone(_) => None,
        })
        .collect()
    }

    pub(crate) fn get(&self, id: &OutputId) -> Option<Arc<Output>> {
        let outputs = self.inner.outputs.lock();
        outputs.get(&id.query)?.outputs.get(id).cloned()
    }

    pub(crate) fn metrics(&self) -> &ExchangeMetrics {
        &self.inner.metrics
    }

    pub(crate) fn compresses_nearby(&self) -> bool {
        self.inner.options.compress_nearby
    }

    /// What a failed read of one of its files means for the output: it is dropped, unless the file
    /// may be fine.
    pub(crate) fn unreadable(&self, output: &Arc<Output>, fault: ReadFault) -> Unreadable {
        match fault {
            ReadFault::Resource(detail) => Unreadable::Resource(detail),
            ReadFault::Damaged(detail) => {
                // If it was released meanwhile, that is why its file is gone.
                let gone = match &*output.phase.lock() {
                    Phase::Gone(reason) => Some(reason.clone()),
                    Phase::Writing | Phase::Committed(_) => None,
                };
                let reason = gone.unwrap_or(LostReason::File { detail });
                self.forget(output, reason.clone());
                Unreadable::Lost(reason)
            }
        }
    }

    /// Drops this very output; another that took its name since then stays.
    pub(crate) fn forget(&self, output: &Arc<Output>, reason: LostReason) {
        {
            let mut outputs = self.inner.outputs.lock();
            if let Some(of_query) = outputs.get_mut(&output.id.query) {
                let held = of_query.outputs.get(&output.id);
                if held.is_some_and(|held| Arc::ptr_eq(held, output)) {
                    of_query.outputs.remove(&output.id);
                    self.inner.metrics.outputs.dec();
                }
                if of_query.outputs.is_empty() {
                    outputs.remove(&output.id.query);
                }
            }
        }
        output.discard(reason);
    }
}

impl OfQuery {
    fn signal(&mut self, stage: StageId) -> Arc<Signal> {
        let known = self.signals.get(&stage).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let signal = Arc::new(Signal::new(()));
            self.signals.insert(stage, Arc::downgrade(&signal));
            signal
        })
    }
}
