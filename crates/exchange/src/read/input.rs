//! The inputs of one task attempt.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use paceline_model::{ByteSize, ExecutorId, OutputLocation, PartitionRange, QueryId, StageId};
use parking_lot::Mutex;

use super::budget::ReadBudget;
use super::peers::Peers;
use super::route::Route;
use super::sequence::Sequence;
use crate::error::ReadError;
use crate::frame::FrameCodec;
use crate::metrics::ExchangeMetrics;
use crate::options::Compression;
use crate::store::OutputStore;

/// Which rows of an exchange one stream brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    /// One partition: from every output that has it, holder by holder. The number of the partition
    /// says with which one it begins; outputs of one holder come in the order in which they are listed.
    Partition(u32),
    /// Everything: in the order in which the outputs are listed and, within each, of partitions.
    Whole,
}

/// Where the outputs of one stage lie, and which of their partitions a task reads.
#[derive(Debug, Clone)]
pub struct StageOutputs {
    /// The columns of the exchange.
    pub schema: SchemaRef,
    /// One for each task of the stage, in the order in which the rows of a whole exchange are wanted.
    pub outputs: Vec<OutputLocation>,
    /// The partitions that the task reads one by one; reading the whole exchange is always allowed.
    pub range: PartitionRange,
}

/// Bytes that a reader has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadBytes {
    /// From outputs of the same process.
    pub local: u64,
    /// From other processes, as they came over the wire.
    pub remote: u64,
}

/// Reads the inputs of one task attempt, or a query's result. Cheap to clone; its streams go on
/// without it.
#[derive(Clone)]
pub struct InputReader {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) store: Option<OutputStore>,
    pub(crate) peers: Peers,
    pub(crate) me: Option<ExecutorId>,
    pub(crate) query: QueryId,
    pub(crate) follow: bool,
    pub(crate) budget: Arc<ReadBudget>,
    pub(crate) metrics: ExchangeMetrics,
    inputs: HashMap<StageId, Input>,
}

struct Input {
    at: StageOutputs,
    /// One stream for each holder brings all partitions of the range.
    route: OnceLock<Arc<Route>>,
    /// The partitions that are read over it.
    taken: Mutex<HashSet<u32>>,
}

impl InputReader {
    /// A reader of these inputs. Outputs that lie on `me` are read from `store`, all others from
    /// their holders, with about `budget` bytes on their way and at least one frame for each stream.
    pub fn new(
        store: Option<OutputStore>,
        peers: Peers,
        me: Option<ExecutorId>,
        query: QueryId,
        inputs: HashMap<StageId, StageOutputs>,
        budget: ByteSize,
        metrics: ExchangeMetrics,
    ) -> Self {
        let inputs = inputs.into_iter().map(|(stage, at)| {
            let input = Input {
                at,
                route: OnceLock::new(),
                taken: Mutex::default(),
            };
            (stage, input)
        });
        InputReader {
            shared: Arc::new(Shared {
                store,
                peers,
                me,
                query,
                follow: false,
                budget: ReadBudget::new(budget.0),
                metrics,
                inputs: inputs.collect(),
            }),
        }
    }

    /// The same reader, but it may also read outputs that are still being written, as far as they
    /// go, and wait for the rest. To be called before anything is read.
    #[must_use]
    pub fn following(self) -> Self {
        match Arc::try_unwrap(self.shared) {
            Ok(shared) => InputReader {
                shared: Arc::new(Shared {
                    follow: true,
                    ..shared
                }),
            },
            // Cloned already: whoever holds the clone goes on as before.
            Err(shared) => InputReader { shared },
        }
    }

    /// A stream of rows, in the same order whoever reads. Nothing is opened before it is first
    /// polled; each stream makes progress even if no other is polled, and drops what it holds when
    /// dropped.
    ///
    /// # Errors
    /// [`ReadError::UnknownInput`] and [`ReadError::UnknownPartition`] if the task was not given
    /// what it asks for. Everything else is found out by the stream.
    pub fn read(
        &self,
        stage: StageId,
        which: Which,
    ) -> Result<BoxStream<'static, Result<RecordBatch, ReadError>>, ReadError> {
        let input = self.shared.inputs.get(&stage);
        let input = input.ok_or(ReadError::UnknownInput { stage })?;
        let malformed = |source| ReadError::Malformed {
            stage,
            source: Arc::new(source),
        };
        // Frames say how they are compressed.
        let codec = FrameCodec::new(Arc::clone(&input.at.schema), Compression::None);
        let codec = codec.map_err(malformed)?;
        let route = self.route(stage, input, which)?;
        let sequence = Sequence::new(Arc::clone(&self.shared), route, codec, which);
        let stream = stream::try_unfold(sequence, |mut sequence| async move {
            let batch = sequence.next().await?;
            Ok(batch.map(|batch| (batch, sequence)))
        });
        Ok(stream.boxed())
    }

    fn route(&self, stage: StageId, input: &Input, which: Which) -> Result<Arc<Route>, ReadError> {
        let Which::Partition(partition) = which else {
            return Ok(Arc::new(Route::whole(&self.shared, stage, &input.at)));
        };
        let range = input.at.range;
        if !range.contains(partition) {
            return Err(ReadError::UnknownPartition {
                stage,
                partition,
                range,
            });
        }
        let route = |range| Arc::new(Route::partitions(&self.shared, stage, &input.at, range));
        if input.taken.lock().insert(partition) {
            return Ok(Arc::clone(input.route.get_or_init(|| route(range))));
        }
        // Read before: a lane has one reader, so this one gets streams of its own.
        Ok(route(PartitionRange::new(partition, 1)))
    }

    /// What has been read so far.
    pub fn bytes_read(&self) -> ReadBytes {
        ReadBytes {
            local: self.shared.budget.local.load(Ordering::Relaxed),
            remote: self.shared.budget.remote.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for InputReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputReader")
            .field("query", &self.shared.query)
            .field("inputs", &self.shared.inputs.keys())
            .field("read", &self.bytes_read())
            .finish_non_exhaustive()
    }
}
