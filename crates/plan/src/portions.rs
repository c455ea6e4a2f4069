//! The probe side of a join, a portion at a time.
//!
//! A join asks its probe side again only when it has tried all pairs of the last batch. If its filter
//! rejects them it gives nothing meanwhile, and neither its task nor its thread hears of anything else.
//! So the filter counts the pairs that it is asked about, and the probe side is given in portions of
//! about as many pairs as a thread may try before others have a turn. Where a row meets few others,
//! portions soon are whole batches.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};

/// Pairs that a join tries before it pauses: some milliseconds of work.
const PAIRS: u64 = 1 << 18;

/// How many pairs the filter of a join was asked about, in all of its partitions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tried(Arc<AtomicU64>);

impl Tried {
    fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, pairs: usize) {
        self.0.fetch_add(pairs as u64, Ordering::Relaxed);
    }

    /// The same filter, which counts.
    pub(crate) fn counting(&self, filter: &JoinFilter) -> JoinFilter {
        let expression = CountingExpr {
            inner: Arc::clone(filter.expression()),
            tried: self.clone(),
        };
        JoinFilter::new(
            Arc::new(expression),
            filter.column_indices().to_vec(),
            Arc::clone(filter.schema()),
        )
    }
}

/// An expression that counts the rows it is evaluated for.
#[derive(Debug)]
struct CountingExpr {
    inner: Arc<dyn PhysicalExpr>,
    tried: Tried,
}

impl PartialEq for CountingExpr {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner) && Arc::ptr_eq(&self.tried.0, &other.tried.0)
    }
}

impl Eq for CountingExpr {}

impl Hash for CountingExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for CountingExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

impl PhysicalExpr for CountingExpr {
    fn return_field(&self, input: &Schema) -> Result<FieldRef> {
        self.inner.return_field(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.tried.add(batch.num_rows());
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match (children.pop(), children.is_empty()) {
            (Some(inner), true) => Ok(Arc::new(CountingExpr {
                inner,
                tried: self.tried.clone(),
            })),
            _ => internal_err!("one expression's rows are counted"),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

/// Gives the batches of its input in portions, and pauses when enough pairs were tried.
#[derive(Debug)]
pub(crate) struct PortionsExec {
    input: Arc<dyn ExecutionPlan>,
    tried: Tried,
}

impl PortionsExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, tried: Tried) -> Self {
        PortionsExec { input, tried }
    }
}

impl DisplayAs for PortionsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortionsExec")
    }
}

impl ExecutionPlan for PortionsExec {
    fn name(&self) -> &'static str {
        "PortionsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(PortionsExec::new(input, self.tried.clone()))),
            _ => internal_err!("one plan's rows are given in portions"),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mode = ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(mode))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        Ok(Box::pin(Portions::new(rows, self.tried.clone())))
    }
}

/// The rows of one partition.
struct Portions {
    rows: SendableRecordBatchStream,
    /// What is left of a batch.
    rest: Option<RecordBatch>,
    tried: Tried,
    /// How many pairs were tried when the last portion was given.
    given_at: u64,
    /// How many pairs were tried at the last pause.
    paused_at: u64,
    /// How many rows the next portion may have.
    most: usize,
}

impl Portions {
    fn new(rows: SendableRecordBatchStream, tried: Tried) -> Self {
        let now = tried.so_far();
        Portions {
            rows,
            rest: None,
            tried,
            given_at: now,
            paused_at: now,
            // Twice as many are the first: each may meet all rows of the other side.
            most: 1,
        }
    }

    /// As many of the rows as the join may try before it asks again.
    fn portion(&mut self, batch: RecordBatch) -> RecordBatch {
        let count = batch.num_rows();
        if count <= self.most {
            return batch;
        }
        self.rest = Some(batch.slice(self.most, count - self.most));
        batch.slice(0, self.most)
    }
}

impl Stream for Portions {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let now = self.tried.so_far();
        if now.saturating_sub(self.paused_at) >= PAIRS {
            self.paused_at = now;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match ready!(self.rows.poll_next_unpin(cx)) {
                Some(Ok(batch)) => batch,
                end => return Poll::Ready(end),
            },
        };
        // More rows next time if the last ones met few others, fewer if they met many.
        let pairs = self.tried.so_far().saturating_sub(self.given_at).max(1);
        let fitting = (self.most as u64).saturating_mul(PAIRS) / pairs;
        let most = fitting.clamp(1, (self.most as u64).saturating_mul(2));
        self.most = usize::try_from(most).unwrap_or(usize::MAX);
        self.given_at = self.tried.so_far();
        Poll::Ready(Some(Ok(self.portion(batch))))
    }
}

impl RecordBatchStream for Portions {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array};
    use datafusion::common::DataFusionError;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::{FutureExt, stream};

    use super::*;

    const ROWS: usize = 100_000;

    /// The numbers of rows of all portions, for a join in which each row meets so many others, and how
    /// often it paused.
    fn portions(met: usize) -> (Vec<usize>, usize) {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS as i64));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let batches = stream::iter([Ok::<_, DataFusionError>(batch.clone())]);
        let rows = RecordBatchStreamAdapter::new(batch.schema(), batches);
        let tried = Tried::default();
        let mut portions = Portions::new(Box::pin(rows), tried.clone());
        let (mut sizes, mut pauses) = (Vec::new(), 0);
        loop {
            match portions.next().now_or_never() {
                None => pauses += 1,
                Some(None) => return (sizes, pauses),
                Some(Some(portion)) => {
                    let portion = portion.unwrap();
                    tried.add(portion.num_rows() * met);
                    sizes.push(portion.num_rows());
                }
            }
        }
    }

    #[test]
    fn a_portion_is_as_many_rows_as_may_be_tried_between_two_pauses() {
        for met in [1, 100, 10_000, 10_000_000] {
            let (sizes, pauses) = portions(met);
            assert_eq!(sizes.iter().sum::<usize>(), ROWS);
            let most = (PAIRS as usize / met).max(2) * 2;
            assert!(sizes.iter().all(|&size| size <= most), "{met}: {sizes:?}");
            let tried = ROWS * met;
            let least = sizes.len().min(tried / PAIRS as usize / 4);
            assert!(pauses >= least, "{met}: {pauses}");
        }
    }

    #[test]
    fn rows_that_meet_few_others_soon_come_in_whole_batches() {
        let (sizes, pauses) = portions(1);
        assert!(sizes.len() < 20, "{sizes:?}");
        assert_eq!(pauses, 0);
    }
}
