//! Cuts a physical plan into stages, at the places where rows change partitions.
//!
//! ```text
//!   SortPreservingMerge                stage 2: SortPreservingMerge ─ ExchangeRead 1
//!     Sort                             stage 1: ExchangeWrite(forward) ─ Sort ─ Aggregate(final)
//!       Aggregate(final)      ──►                 ─ ExchangeRead 0
//!         Repartition(hash)            stage 0: ExchangeWrite(hash) ─ Aggregate(partial) ─ scan
//!           Aggregate(partial)
//!             scan
//! ```

use std::sync::Arc;

use datafusion::common::{Result, internal_datafusion_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::scalar_subquery::{ScalarSubqueryExec, ScalarSubqueryLink};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};
use paceline_model::{ByteSize, PartitionRange, Stage, StageGraph, StageId};

use crate::codec;
use crate::determinism::{deterministic, divides_by_sums, summed};
use crate::encodable::encodable;
use crate::exchange_inputs::{exchange_inputs, finishes_exchange, reads_exchange};
use crate::exchange_read::{ExchangeReadExec, Reads, RowProperties};
use crate::exchange_write::{ExchangeWriteExec, Sink};
use crate::limited::limited;
use crate::restrict::{collected_inputs, divisible, partitions};
use crate::scan::scan_bytes;
use crate::subqueries::{used_values, uses_value};

/// A plan below something that gathers is left where it is, and so runs in every task above it, if
/// it reads no more than this from storage: less than a stage of its own would cost.
const INLINE_SCAN_BYTES: u64 = 1 << 20;

/// Cuts `plan` into a graph of stages. `state` has the functions that it uses; `small` is what a
/// plan may scan and still be worth no stage; `largest` is what the plan of a stage may take.
///
/// # Errors
/// If an operator cannot be sent to an executor, or a stage is too large.
pub(crate) fn cut(
    plan: Arc<dyn ExecutionPlan>,
    state: &SessionState,
    small: u64,
    largest: ByteSize,
) -> Result<StageGraph> {
    let mut cutter = Cutter::new(state, largest);
    cutter.inline_bytes = small.min(INLINE_SCAN_BYTES);
    let root = cutter.visit(encodable(plan)?)?;
    cutter.add(root, Sink::Forward)?;
    cutter.graph()
}

/// Makes a graph of a single stage, which one task runs.
///
/// # Errors
/// If an operator cannot be sent to an executor, or all of them are too large.
pub(crate) fn uncut(
    plan: Arc<dyn ExecutionPlan>,
    state: &SessionState,
    largest: ByteSize,
) -> Result<StageGraph> {
    let mut cutter = Cutter::new(state, largest);
    cutter.undivided = true;
    cutter.add(encodable(plan)?, Sink::Forward)?;
    cutter.graph()
}

struct Cutter<'a> {
    state: &'a SessionState,
    stages: Vec<Stage>,
    /// Which columns of theirs depend on sums of floats.
    summed: Vec<Vec<bool>>,
    undivided: bool,
    inline_bytes: u64,
    largest: ByteSize,
    /// The operator whose subqueries give values to what is being visited.
    scope: Option<Arc<dyn ExecutionPlan>>,
}

impl<'a> Cutter<'a> {
    fn new(state: &'a SessionState, largest: ByteSize) -> Self {
        Cutter {
            state,
            stages: Vec::new(),
            summed: Vec::new(),
            undivided: false,
            inline_bytes: 0,
            largest,
            scope: None,
        }
    }

    fn graph(self) -> Result<StageGraph> {
        StageGraph::new(self.stages)
            .map_err(|e| internal_datafusion_err!("the plan was cut wrongly: {e}"))
    }

    /// Bottom up, so that stages are numbered in an order in which they can run.
    fn visit(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(scope) = plan.downcast_ref::<ScalarSubqueryExec>() {
            return self.subqueries(&plan, scope);
        }
        let mut children = Vec::new();
        for child in plan.children() {
            // What a recursive query repeats runs many times, with rows that only it has.
            let repeated = plan.is::<RecursiveQueryExec>() && !children.is_empty();
            let child = Arc::clone(child);
            children.push(if repeated { child } else { self.visit(child)? });
        }
        let plan = replace_children_if_necessary(plan, children)?;
        if let Some(repartition) = plan.downcast_ref::<RepartitionExec>() {
            return self.repartition(&plan, repartition);
        }
        if let Some(gather) = plan.downcast_ref::<CoalescePartitionsExec>() {
            return self.gather(&plan, gather);
        }
        if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
            return self.merge(&plan, merge);
        }
        self.broadcast(plan)
    }

    fn repartition(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
        repartition: &RepartitionExec,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = repartition.input();
        match repartition.partitioning() {
            // Only meant to spread work over cores, which the division into tasks does.
            Partitioning::RoundRobinBatch(_) => Ok(Arc::clone(input)),
            Partitioning::Hash(exprs, count) if !exprs.iter().any(uses_value) => {
                let count = u32::try_from(*count).unwrap_or(u32::MAX);
                // The rows of a single partition stay in order, and what is above may count on it.
                let rows = RowProperties::of(input, partitions(input) == 1);
                let schema = input.schema();
                let stage = self.add(
                    Arc::clone(input),
                    Sink::Hash {
                        exprs: exprs.clone(),
                        partitions: count,
                    },
                )?;
                let range = Reads::Range(PartitionRange::new(0, count));
                let read = ExchangeReadExec::try_new(stage, schema, range, exprs.clone(), rows)?;
                let read: Arc<dyn ExecutionPlan> = Arc::new(read);
                match plan
                    .output_ordering()
                    .filter(|_| repartition.preserve_order())
                {
                    None => Ok(read),
                    Some(order) => Ok(Arc::new(
                        SortExec::new(order.clone(), read).with_preserve_partitioning(true),
                    )),
                }
            }
            // Its stage runs as one task; see `restrict`.
            _ => Ok(Arc::clone(plan)),
        }
    }

    fn gather(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
        gather: &CoalescePartitionsExec,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = gather.input();
        if partitions(input) == 1 || self.small(input)? {
            return Ok(Arc::clone(plan));
        }
        let read = self.whole(limited(input, gather.fetch()))?;
        match gather.fetch() {
            Some(fetch) => Ok(Arc::new(GlobalLimitExec::new(read, 0, Some(fetch)))),
            None => Ok(read),
        }
    }

    fn merge(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
        merge: &SortPreservingMergeExec,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = merge.input();
        let count = partitions(input);
        if count == 1 || self.small(input)? {
            return Ok(Arc::clone(plan));
        }
        let (mut rows, schema) = (RowProperties::of(input, true), input.schema());
        // The input has this order, if perhaps for reasons that an exchange forgets: values of
        // subqueries, which whoever merges by them has too, or columns that differ only from one
        // partition to the next, as in a union.
        if !rows.orderings.contains(merge.expr()) {
            rows.orderings.push(merge.expr().clone());
        }
        let stage = self.add(limited(input, merge.fetch()), Sink::Forward)?;
        let range = Reads::Range(PartitionRange::new(0, count));
        let read = ExchangeReadExec::try_new(stage, schema, range, vec![], rows)?;
        replace_children_if_necessary(Arc::clone(plan), vec![Arc::new(read)])
    }

    /// Gives inputs that every task needs whole a stage of their own, unless they are small.
    fn broadcast(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        if partitions(&plan) <= 1 || plan.is::<UnionExec>() {
            return Ok(plan);
        }
        let mut children = Vec::new();
        for (child, collected) in plan.children().into_iter().zip(collected_inputs(&plan)) {
            let child = Arc::clone(child);
            if collected && partitions(&child) == 1 && !self.small(&child)? {
                children.push(self.whole(child)?);
            } else {
                children.push(child);
            }
        }
        replace_children_if_necessary(plan, children)
    }

    /// Makes `plan` a stage and reads all of it in its place.
    fn whole(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = RowProperties::of(&plan, partitions(&plan) == 1);
        let schema = plan.schema();
        let stage = self.add(plan, Sink::Forward)?;
        let read = ExchangeReadExec::try_new(stage, schema, Reads::Whole, vec![], rows)?;
        Ok(Arc::new(read))
    }

    /// Visits a plan and the subqueries above it. The subqueries become stages where their values
    /// are used: see `with_values`.
    fn subqueries(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
        scope: &ScalarSubqueryExec,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let outer = self.scope.replace(Arc::clone(plan));
        let input = self.visit(Arc::clone(scope.input()));
        let input = input.and_then(|input| self.with_values(input));
        self.scope = outer;
        input
    }

    /// Puts the subqueries whose values `plan` uses above it.
    fn with_values(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(above) = self.scope.clone() else {
            return Ok(plan);
        };
        let Some(scope) = above.downcast_ref::<ScalarSubqueryExec>() else {
            return Ok(plan);
        };
        let used = used_values(&plan, scope)?;
        if !used.contains(&true) {
            return Ok(plan);
        }
        self.scope = None;
        let mut links = Vec::new();
        for (link, used) in scope.subqueries().iter().zip(used) {
            // Values are found by their position, so one that is not used needs a stand-in.
            let plan = if used {
                self.value(Arc::clone(&link.plan))?
            } else {
                Arc::new(EmptyExec::new(link.plan.schema()))
            };
            let index = link.index;
            links.push(ScalarSubqueryLink { plan, index });
        }
        self.scope = Some(Arc::clone(&above));
        let results = scope.results().clone();
        Ok(Arc::new(ScalarSubqueryExec::new(plan, links, results)))
    }

    fn value(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.visit(plan)?;
        if self.small(&plan)? {
            return Ok(plan);
        }
        self.whole(plan)
    }

    /// Whether running the plan once more, in every task, costs less than a stage and brings the
    /// same rows to each.
    fn small(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
        let little = if reads_exchange(plan) {
            finishes_exchange(plan)
        } else {
            scan_bytes(plan) <= self.inline_bytes
        };
        Ok(little && deterministic(plan)?)
    }

    fn add(&mut self, plan: Arc<dyn ExecutionPlan>, sink: Sink) -> Result<StageId> {
        let plan = if partitions(&plan) == 0 {
            Arc::new(EmptyExec::new(plan.schema())) as Arc<dyn ExecutionPlan>
        } else {
            self.with_values(plan)?
        };
        let id = StageId(u32::try_from(self.stages.len()).unwrap_or(u32::MAX));
        let divisible = !self.undivided && partitions(&plan) > 1 && divisible(&plan)?;
        let inputs = exchange_inputs(&plan, divisible);
        let (count, exchange) = (partitions(&plan), sink.kind());
        let sums = summed(&plan, &self.summed);
        let steady = deterministic(&plan)? && !divides_by_sums(&sink, &sums);
        self.summed.push(sums);
        let bytes = scan_bytes(&plan);
        let root: Arc<dyn ExecutionPlan> = Arc::new(ExchangeWriteExec::new(plan, sink));
        let (plan, text) = codec::encode_with_text(root, self.state)?;
        self.carried(plan.len())?;
        self.stages.push(Stage {
            id,
            plan: Arc::from(plan),
            partitions: count,
            divisible,
            exchange,
            inputs,
            deterministic: steady,
            scan_bytes: bytes,
            text: Arc::from(text),
        });
        Ok(id)
    }

    /// Refuses a stage whose plan is more than a message carries.
    fn carried(&self, bytes: usize) -> Result<()> {
        if bytes <= self.largest.as_usize() {
            return Ok(());
        }
        plan_err!(
            "a part of this statement's plan takes {}, and no more than {} are sent to executors: put \
             long lists of values into a table and join with that, or divide the statement",
            mebibytes(bytes as f64),
            mebibytes(self.largest.0 as f64)
        )
    }
}

/// A number of bytes, for people.
fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}
