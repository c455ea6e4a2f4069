//! The exchanges that a task reads, as its plan sees them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use paceline_exchange::{InputReader, ReadError, StageOutputs};
use paceline_model::{
    ByteSize, ErrorClass, ExecutorId, OutputLocation, PartitionRange, QueryError, QueryId, StageId,
};
use paceline_plan::{ExchangeNeed, ExchangeSource, Which, into_datafusion};

use super::outcome::Read;
use super::work::Work;
use crate::launch::Orders;
use crate::node::{Means, Node};

/// Hands the streams of its exchanges to a task's plan.
///
/// A plan is decoded with this beside it, and only the decoded plan says what it reads: so a source
/// is made first, told by [`expect`](Self::expect) what is needed, and then asked for streams.
pub(super) struct TaskSource {
    means: Means,
    me: ExecutorId,
    budget: ByteSize,
    query: QueryId,
    orders: Arc<Orders>,
    needs: OnceLock<HashMap<StageId, Need>>,
}

struct Need {
    /// The partitions that are read one by one; none if all are read together.
    range: Option<PartitionRange>,
    /// Made when the plan first reads: then the schema is known.
    reader: OnceLock<InputReader>,
}

impl fmt::Debug for TaskSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSource")
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

impl TaskSource {
    pub(super) fn new(node: &Node, means: &Means, work: &Work) -> Self {
        TaskSource {
            means: means.clone(),
            me: node.identity.executor.clone(),
            budget: node.read_budget,
            query: work.id.query,
            orders: work.orders.clone(),
            needs: OnceLock::new(),
        }
    }

    /// Says what the task's plan reads.
    pub(super) fn expect(&self, needs: Vec<ExchangeNeed>) {
        self.needs.get_or_init(|| {
            needs
                .into_iter()
                .map(|need| {
                    let reader = OnceLock::new();
                    let range = need.range;
                    (need.stage, Need { range, reader })
                })
                .collect()
        });
    }

    /// Bytes that were read so far.
    pub(super) fn bytes_read(&self) -> Read {
        let mut read = Read::default();
        let readers = self.needs.get().into_iter().flat_map(HashMap::values);
        for reader in readers.filter_map(|need| need.reader.get()) {
            let bytes = reader.bytes_read();
            read.local += bytes.local;
            read.remote += bytes.remote;
        }
        read
    }

    fn reader(&self, stage: StageId, schema: &SchemaRef) -> Result<&InputReader, QueryError> {
        let needs = self.needs.get();
        let need = needs.and_then(|needs| needs.get(&stage));
        let locations = self.orders.inputs.get(&stage);
        let (Some(need), Some(locations)) = (need, locations) else {
            return Err(QueryError::new(
                ErrorClass::Bug,
                format!("the launch does not say where the exchange of stage {stage} lies"),
            ));
        };
        let stages = needs.map_or(1, HashMap::len) as u64;
        let budget = ByteSize(self.budget.0 / stages.max(1));
        Ok(need.reader.get_or_init(|| {
            let outputs = StageOutputs {
                schema: schema.clone(),
                outputs: locations.clone(),
                range: need.range.unwrap_or_else(|| everything(locations)),
            };
            InputReader::new(
                Some(self.means.store.clone()),
                self.means.peers.clone(),
                Some(self.me.clone()),
                self.query,
                HashMap::from([(stage, outputs)]),
                budget,
                self.means.exchange_metrics.clone(),
            )
        }))
    }
}

/// Every partition that any of the outputs has.
fn everything(locations: &[OutputLocation]) -> PartitionRange {
    let ends = locations.iter().map(|location| location.partitions.end());
    PartitionRange::new(0, ends.max().unwrap_or(0))
}

impl ExchangeSource for TaskSource {
    fn read(
        &self,
        stage: StageId,
        which: Which,
        schema: SchemaRef,
    ) -> Result<SendableRecordBatchStream> {
        let which = match which {
            Which::Partition(partition) => paceline_exchange::Which::Partition(partition),
            Which::Whole => paceline_exchange::Which::Whole,
        };
        let reader = self.reader(stage, &schema).map_err(into_datafusion)?;
        let failed = |error: ReadError| into_datafusion(error.to_query_error());
        let rows = reader.read(stage, which).map_err(failed)?;
        let rows = rows.map(move |batch| batch.map_err(failed));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}
