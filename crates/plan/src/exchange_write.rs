//! The node that ends a stage: it says how the rows are divided. It never runs itself; an executor
//! reads it off the plan and does the writing.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{ReplaceChildrenOptions, apply_expression_roots};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use paceline_model::ExchangeKind;

/// How the rows that leave a stage are divided.
#[derive(Debug, Clone)]
pub enum Sink {
    /// By the hash of some expressions, as DataFusion's own repartitioning does it: see
    /// [`HashPartitions`](crate::HashPartitions).
    Hash {
        /// What is hashed, over the schema of the stage's plan.
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        /// How many partitions there are.
        partitions: u32,
    },
    /// Not at all: partition *p* stays partition *p*.
    Forward,
}

impl Sink {
    /// The kind of exchange that the sink fills.
    pub fn kind(&self) -> ExchangeKind {
        match self {
            Sink::Hash { partitions, .. } => ExchangeKind::Hash {
                partitions: *partitions,
            },
            Sink::Forward => ExchangeKind::Forward,
        }
    }
}

/// The root of a stage's plan.
#[derive(Debug)]
pub struct ExchangeWriteExec {
    input: Arc<dyn ExecutionPlan>,
    sink: Sink,
}

impl ExchangeWriteExec {
    /// Ends a stage that runs `input`.
    pub fn new(input: Arc<dyn ExecutionPlan>, sink: Sink) -> Self {
        ExchangeWriteExec { input, sink }
    }

    /// What the stage runs.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// How its rows are divided.
    pub fn sink(&self) -> &Sink {
        &self.sink
    }
}

impl DisplayAs for ExchangeWriteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sink {
            Sink::Forward => f.write_str("ExchangeWriteExec: forward"),
            Sink::Hash { exprs, partitions } => {
                write!(f, "ExchangeWriteExec: hash=[")?;
                for (index, expr) in exprs.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{expr}")?;
                }
                write!(f, "], partitions={partitions}")
            }
        }
    }
}

impl ExecutionPlan for ExchangeWriteExec {
    fn name(&self) -> &'static str {
        "ExchangeWriteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match &self.sink {
            Sink::Hash { exprs, .. } => apply_expression_roots(exprs.iter(), f),
            Sink::Forward => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(ExchangeWriteExec::new(input, self.sink.clone()))),
            _ => internal_err!("a stage has exactly one plan"),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mode = datafusion::physical_plan::execution_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(mode))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("the end of a stage is written by its executor, it does not run as a plan")
    }
}
