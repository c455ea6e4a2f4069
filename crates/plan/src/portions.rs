//! The probe side of a join, a portion at a time.
//!
//! A join asks its probe side again only when it has tried all pairs of the last batch. If it gives
//! nothing meanwhile, neither its task nor its thread hears of anything else. So it is counted how many
//! pairs it tries, and the probe side is given in portions of about as many pairs as a thread may try
//! before others have a turn. Where a row meets few others, portions soon are whole batches.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};

use crate::tried::Tried;

/// Pairs that a join tries before it pauses: some milliseconds of work.
const PAIRS: u64 = 1 << 18;

/// What stands above and below a join whose probe side is given in portions.
#[derive(Debug)]
pub(crate) struct PortionsExec {
    input: Arc<dyn ExecutionPlan>,
    tried: Tried,
    place: Place,
}

/// Where it stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Above the join: counts the batches that it gives, as leaves do, and learns where it counts pairs.
    Above,
    /// Below it: gives portions of its probe side, mostly of so many rows at least, and pauses when
    /// enough pairs were tried.
    Below { least: usize },
}

impl PortionsExec {
    /// The probe side of a join.
    pub(crate) fn below(probe: &Arc<dyn ExecutionPlan>, tried: &Tried, least: usize) -> Self {
        PortionsExec {
            input: Arc::clone(probe),
            tried: tried.clone(),
            place: Place::Below { least },
        }
    }

    /// The join.
    pub(crate) fn above(join: Arc<dyn ExecutionPlan>, tried: Tried) -> Self {
        PortionsExec {
            input: join,
            tried,
            place: Place::Above,
        }
    }

    pub(crate) fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }
}

impl DisplayAs for PortionsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())
    }
}

impl ExecutionPlan for PortionsExec {
    fn name(&self) -> &'static str {
        match self.place {
            Place::Above => "PausingExec",
            Place::Below { .. } => "PortionsExec",
        }
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
            (Some(input), true) => Ok(Arc::new(PortionsExec {
                input,
                tried: self.tried.clone(),
                place: self.place,
            })),
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
        match self.place {
            Place::Above => {
                self.tried.watch(self.input.as_ref(), partition);
                Ok(make_cooperative(rows))
            }
            Place::Below { least } => {
                let tried = self.tried.clone();
                Ok(Box::pin(Portions::new(rows, tried, partition, least)))
            }
        }
    }
}

/// The rows of one partition.
struct Portions {
    rows: SendableRecordBatchStream,
    /// What is left of a batch.
    rest: Option<RecordBatch>,
    tried: Tried,
    partition: usize,
    /// How many pairs were tried when the last portion was given, and at the last pause. The join counts
    /// from its first poll on.
    given_at: Option<u64>,
    paused_at: Option<u64>,
    /// How many rows the next portion may have.
    most: usize,
    least: usize,
}

impl Portions {
    fn new(rows: SendableRecordBatchStream, tried: Tried, partition: usize, least: usize) -> Self {
        Portions {
            rows,
            rest: None,
            tried,
            partition,
            given_at: None,
            paused_at: None,
            // Twice as many are the first: each may meet all rows of the other side.
            most: least,
            least,
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
        let now = self.tried.so_far(self.partition);
        let paused_at = *self.paused_at.get_or_insert(now);
        if now.saturating_sub(paused_at) >= PAIRS {
            self.paused_at = Some(now);
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
        let given_at = self.given_at.replace(now).unwrap_or(now);
        let pairs = now.saturating_sub(given_at).max(1);
        let fitting = (self.most as u64).saturating_mul(PAIRS) / pairs;
        let fitting = usize::try_from(fitting).unwrap_or(usize::MAX);
        self.most = fitting.min(self.most.saturating_mul(2)).max(self.least);
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
    use std::sync::atomic::{AtomicU64, Ordering};

    use datafusion::arrow::array::{ArrayRef, Int64Array};
    use datafusion::common::DataFusionError;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::{FutureExt, stream};

    use super::*;

    const ROWS: usize = 100_000;

    /// The numbers of rows of all portions, mostly so many at least, for a join in which each row meets
    /// so many others, and how often it paused.
    fn portions(met: usize, least: usize) -> (Vec<usize>, usize) {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS as i64));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let batches = stream::iter([Ok::<_, DataFusionError>(batch.clone())]);
        let rows = RecordBatchStreamAdapter::new(batch.schema(), batches);
        let count = Arc::new(AtomicU64::new(0));
        let tried = Tried::ByFilter(Arc::clone(&count));
        let mut portions = Portions::new(Box::pin(rows), tried, 0, least);
        let (mut sizes, mut pauses) = (Vec::new(), 0);
        loop {
            match portions.next().now_or_never() {
                None => pauses += 1,
                Some(None) => return (sizes, pauses),
                Some(Some(portion)) => {
                    let portion = portion.unwrap();
                    let pairs = portion.num_rows() * met;
                    count.fetch_add(pairs as u64, Ordering::Relaxed);
                    sizes.push(portion.num_rows());
                }
            }
        }
    }

    #[test]
    fn a_portion_is_as_many_rows_as_may_be_tried_between_two_pauses() {
        for met in [1, 100, 10_000, 10_000_000] {
            let (sizes, pauses) = portions(met, 1);
            assert_eq!(sizes.iter().sum::<usize>(), ROWS);
            let most = (PAIRS as usize / met).max(2) * 2;
            assert!(sizes.iter().all(|&size| size <= most), "{met}: {sizes:?}");
            let tried = ROWS * met;
            let least = sizes.len().min(tried / PAIRS as usize / 4);
            assert!(pauses >= least, "{met}: {pauses}");
        }
    }

    #[test]
    fn portions_have_no_fewer_rows_than_are_worth_a_try() {
        let (sizes, pauses) = portions(10_000_000, 512);
        let last = sizes.len() - 1;
        assert!(sizes[..last].iter().all(|&size| size >= 512), "{sizes:?}");
        assert!(sizes.iter().all(|&size| size <= 1024), "{sizes:?}");
        assert_eq!(pauses, sizes.len());
    }

    #[test]
    fn rows_that_meet_few_others_soon_come_in_whole_batches() {
        let (sizes, pauses) = portions(1, 1);
        assert!(sizes.len() < 20, "{sizes:?}");
        assert_eq!(pauses, 0);
    }
}
