//! The operator that begins a stage: it reads what an earlier stage left.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{
    AcrossPartitions, ConstExpr, EquivalenceProperties, LexOrdering, PhysicalExpr,
};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions, SchedulingType, apply_expression_roots,
};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, metrics,
};
use futures::TryStreamExt;
use paceline_model::{PartitionRange, StageId};

use crate::subqueries::uses_value;

/// Which rows of an exchange one stream brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    /// One partition, from every task that has it, in an order that depends on where their outputs lie.
    Partition(u32),
    /// Everything, in the order of the tasks and, within each, of the partitions.
    Whole,
}

/// Where the rows of exchanges come from. An executor puts one into the task's session config (see
/// [`Engine::task_context`](crate::Engine::task_context)); the reading operator asks it for streams.
pub trait ExchangeSource: Send + Sync + fmt::Debug {
    /// A stream of rows of the exchange that `stage` left. Those that one task left in a partition come in
    /// their order. Nothing is opened before it is first polled.
    ///
    /// # Errors
    /// If the task was given no locations for that stage.
    fn read(
        &self,
        stage: StageId,
        which: Which,
        schema: SchemaRef,
    ) -> Result<SendableRecordBatchStream>;
}

/// The [`ExchangeSource`] as it lies among the extensions of a session config, which are found by
/// type and cannot be trait objects.
#[derive(Debug, Clone)]
pub(crate) struct BoundSource(pub(crate) Arc<dyn ExchangeSource>);

/// What is known of the order and equality of the rows; it travels with the operator, so that an
/// executor draws the same conclusions from it as the planner did.
#[derive(Debug, Clone, Default)]
pub(crate) struct RowProperties {
    /// Orders that the rows of each partition have.
    pub(crate) orderings: Vec<LexOrdering>,
    /// Expressions whose value is the same in all rows of all partitions.
    pub(crate) constants: Vec<Arc<dyn PhysicalExpr>>,
    /// Pairs of expressions that are equal in every row.
    pub(crate) equal: Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>,
}

impl RowProperties {
    /// What is known of the rows that leave `plan`; `ordered` says whether their order within a
    /// partition survives the exchange.
    pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>, ordered: bool) -> Self {
        let known = plan.properties().equivalence_properties();
        // What is said about values that only the stage below has means nothing above it.
        let orderings = known.oeq_class().iter();
        let orderings = orderings
            .filter(|order| ordered && !order.iter().any(|sort| uses_value(&sort.expr)))
            .cloned()
            .collect();
        let constants = known
            .constants()
            .into_iter()
            .filter(|c| matches!(c.across_partitions, AcrossPartitions::Uniform(_)))
            .map(|c| c.expr)
            .filter(|expr| !uses_value(expr))
            .collect();
        let mut equal = Vec::new();
        for class in known.eq_group().iter() {
            let mut members = class.iter().filter(|member| !uses_value(member));
            if let Some(first) = members.next() {
                equal.extend(members.map(|other| (Arc::clone(first), Arc::clone(other))));
            }
        }
        RowProperties {
            orderings,
            constants,
            equal,
        }
    }

    fn equivalences(&self, schema: &SchemaRef) -> Result<EquivalenceProperties> {
        let mut known = EquivalenceProperties::new(Arc::clone(schema));
        known.add_constants(
            self.constants
                .iter()
                .map(|expr| ConstExpr::new(Arc::clone(expr), AcrossPartitions::Uniform(None))),
        )?;
        for (left, right) in &self.equal {
            known.add_equal_conditions(Arc::clone(left), Arc::clone(right))?;
        }
        known.add_orderings(self.orderings.iter().cloned());
        Ok(known)
    }
}

/// Reads an exchange.
///
/// It has either one partition for each one of a range of the exchange's, or a single one with all
/// of them.
#[derive(Debug, Clone)]
pub struct ExchangeReadExec {
    stage: StageId,
    schema: SchemaRef,
    reads: Reads,
    /// The columns by whose hash the exchange is divided; empty if it is not.
    hash: Vec<Arc<dyn PhysicalExpr>>,
    rows: RowProperties,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// The shape of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Partition `i` of the operator is partition `first + i` of the exchange.
    Range(PartitionRange),
    /// The one partition of the operator is the whole exchange.
    Whole,
}

impl ExchangeReadExec {
    pub(crate) fn try_new(
        stage: StageId,
        schema: SchemaRef,
        reads: Reads,
        hash: Vec<Arc<dyn PhysicalExpr>>,
        rows: RowProperties,
    ) -> Result<Self> {
        let partitioning = match reads {
            Reads::Whole => Partitioning::UnknownPartitioning(1),
            Reads::Range(range) if hash.is_empty() => {
                Partitioning::UnknownPartitioning(range.count as usize)
            }
            Reads::Range(range) => Partitioning::Hash(hash.clone(), range.count as usize),
        };
        let properties = PlanProperties::new(
            rows.equivalences(&schema)?,
            partitioning,
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Ok(ExchangeReadExec {
            stage,
            schema,
            reads,
            hash,
            rows,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The stage whose exchange is read.
    pub fn stage(&self) -> StageId {
        self.stage
    }

    pub(crate) fn reads(&self) -> Reads {
        self.reads
    }

    pub(crate) fn hash(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.hash
    }

    pub(crate) fn rows(&self) -> &RowProperties {
        &self.rows
    }

    /// The same operator over some of its partitions.
    pub(crate) fn restricted(&self, range: PartitionRange) -> Result<Self> {
        let Reads::Range(own) = self.reads else {
            return internal_err!("a read of a whole exchange has no partitions to choose from");
        };
        if range.end() > own.count {
            return internal_err!("{range:?} is outside of {own:?}");
        }
        ExchangeReadExec::try_new(
            self.stage,
            Arc::clone(&self.schema),
            Reads::Range(PartitionRange::new(own.first + range.first, range.count)),
            self.hash.clone(),
            self.rows.clone(),
        )
    }
}

impl DisplayAs for ExchangeReadExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExchangeReadExec: stage={}", self.stage)?;
        match self.reads {
            Reads::Whole => f.write_str(", whole"),
            Reads::Range(range) if self.hash.is_empty() => {
                write!(f, ", partitions={}", range.count)
            }
            Reads::Range(range) => {
                write!(f, ", partitions={}, hash=[", range.count)?;
                for (index, expr) in self.hash.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{expr}")?;
                }
                f.write_str("]")
            }
        }
    }
}

impl ExecutionPlan for ExchangeReadExec {
    fn name(&self) -> &'static str {
        "ExchangeReadExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        apply_expression_roots(self.hash.iter(), f)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Some(source) = context.session_config().get_extension::<BoundSource>() else {
            return internal_err!("no exchange source is bound to the task");
        };
        let which = match self.reads {
            Reads::Whole => Which::Whole,
            Reads::Range(range) => Which::Partition(range.first + partition as u32),
        };
        let rows = source.0.read(self.stage, which, Arc::clone(&self.schema))?;
        let bytes = metrics::MetricBuilder::new(&self.metrics).counter("read_bytes", partition);
        let baseline = metrics::BaselineMetrics::new(&self.metrics, partition);
        let counted = rows.inspect_ok(move |batch| {
            bytes.add(batch.get_array_memory_size());
            baseline.record_output(batch.num_rows());
        });
        let schema = Arc::clone(&self.schema);
        let counted = RecordBatchStreamAdapter::new(schema, counted);
        // What lies in memory is always ready: without this, an operator that reads all of it before it
        // gives anything would keep its thread until then, and notice no cancel.
        Ok(Box::pin(cooperative(counted)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, RecordBatch};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::prelude::{SessionConfig, SessionContext};
    use futures::{FutureExt, stream};

    use super::*;

    const BATCHES: usize = 1000;

    /// An exchange all of which is in memory.
    #[derive(Debug)]
    struct Ready;

    impl ExchangeSource for Ready {
        fn read(
            &self,
            _: StageId,
            _: Which,
            schema: SchemaRef,
        ) -> Result<SendableRecordBatchStream> {
            let column = Arc::new(Int64Array::from(vec![1]));
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column])?;
            let rows = stream::iter(std::iter::repeat_n(batch, BATCHES).map(Ok));
            Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
        }
    }

    #[tokio::test]
    async fn a_read_pauses_though_all_of_it_is_ready() {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
        let range = Reads::Range(PartitionRange::new(0, 1));
        let rows = RowProperties::default();
        let read = ExchangeReadExec::try_new(StageId(0), Arc::new(schema), range, vec![], rows);
        let config = SessionConfig::new().with_extension(Arc::new(BoundSource(Arc::new(Ready))));
        let context = SessionContext::new_with_config(config).task_ctx();
        let rows = read.unwrap().execute(0, context).unwrap();
        let mut all = rows.try_collect::<Vec<_>>();
        let at_once = (&mut all).now_or_never();
        assert!(at_once.is_none(), "it went through without a pause");
        assert_eq!(all.await.unwrap().len(), BATCHES);
    }
}
