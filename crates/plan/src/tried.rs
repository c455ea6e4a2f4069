//! How many pairs of rows a join has tried.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::metrics::{MetricValue, RatioMetrics};
use parking_lot::Mutex;

/// Asking a filter takes about as long as asking it about so many pairs more.
const EVALUATION: usize = 256;

/// How many pairs of rows a join has tried, and who counts them.
#[derive(Debug, Clone)]
pub(crate) enum Tried {
    /// The filter that is asked about them, in all partitions of the join together.
    ByFilter(Arc<AtomicU64>),
    /// The join, in one of its metrics.
    ByJoin(OwnCount),
}

/// A metric that says how many pairs a join has tried.
#[derive(Debug, Clone)]
pub(crate) struct OwnCount {
    name: &'static str,
    pairs: fn(&RatioMetrics) -> usize,
    /// Those of the partitions that run.
    metrics: Arc<Mutex<BTreeMap<usize, RatioMetrics>>>,
}

impl Tried {
    /// By a hash join: the pairs whose keys are equal, before its filter is asked.
    pub(crate) fn by_hash_join() -> Self {
        Self::by_join("avg_fanout", RatioMetrics::part)
    }

    /// By a nested loop join: all pairs.
    pub(crate) fn by_nested_loops() -> Self {
        Self::by_join("selectivity", RatioMetrics::total)
    }

    fn by_join(name: &'static str, pairs: fn(&RatioMetrics) -> usize) -> Self {
        let metrics = Arc::default();
        Tried::ByJoin(OwnCount {
            name,
            pairs,
            metrics,
        })
    }

    /// By a filter, and the filter that does.
    pub(crate) fn by_filter(filter: &JoinFilter) -> (Self, JoinFilter) {
        let tried = Arc::<AtomicU64>::default();
        let expression = CountingExpr {
            inner: Arc::clone(filter.expression()),
            tried: Arc::clone(&tried),
        };
        let counting = JoinFilter::new(
            Arc::new(expression),
            filter.column_indices().to_vec(),
            Arc::clone(filter.schema()),
        );
        (Tried::ByFilter(tried), counting)
    }

    /// Learns where a partition of the join counts that has just begun to run.
    pub(crate) fn watch(&self, join: &dyn ExecutionPlan, partition: usize) {
        let (Tried::ByJoin(own), Some(metrics)) = (self, join.metrics()) else {
            return;
        };
        for metric in metrics.iter() {
            if metric.partition() == Some(partition)
                && let MetricValue::Ratio {
                    name,
                    ratio_metrics,
                } = metric.value()
                && name == own.name
            {
                own.metrics.lock().insert(partition, ratio_metrics.clone());
            }
        }
    }

    /// How many they are that concern a partition; they become no fewer while it runs.
    pub(crate) fn so_far(&self, partition: usize) -> u64 {
        match self {
            Tried::ByFilter(tried) => tried.load(Ordering::Relaxed),
            Tried::ByJoin(own) => {
                let metrics = own.metrics.lock();
                metrics.get(&partition).map_or(0, own.pairs) as u64
            }
        }
    }
}

/// An expression that counts the rows it is evaluated for.
#[derive(Debug)]
struct CountingExpr {
    inner: Arc<dyn PhysicalExpr>,
    tried: Arc<AtomicU64>,
}

impl PartialEq for CountingExpr {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner) && Arc::ptr_eq(&self.tried, &other.tried)
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
        let pairs = batch.num_rows() + EVALUATION;
        self.tried.fetch_add(pairs as u64, Ordering::Relaxed);
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
                tried: Arc::clone(&self.tried),
            })),
            _ => internal_err!("one expression's rows are counted"),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
