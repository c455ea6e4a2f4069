//! What DataFusion's encoding of window functions leaves out: `IGNORE NULLS`, `FILTER`, and that a
//! function looks the other way because its window was reversed to fit an order that is there.
//!
//! Whether it looks the other way and whether it ignores nulls a function says itself here, by a
//! wrapper that travels with it. A filter becomes a part of the argument.

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_datafusion_err, not_impl_err};
use datafusion::execution::SessionState;
use datafusion::functions_window::all_default_window_functions;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::function::{
    ExpressionArgs, PartitionEvaluatorArgs, WindowFunctionSimplification, WindowUDFFieldArgs,
};
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::logical_expr::{
    Case, Documentation, Expr, LimitEffect, LogicalPlan, PartitionEvaluator, ReversedUDWF,
    Signature, WindowFunctionDefinition, WindowUDF, WindowUDFImpl,
};
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::windows::{
    BoundedWindowAggExec, StandardWindowExpr, WindowAggExec, WindowExpr, WindowUDFExpr,
};
use prost::Message;

/// Aggregates to which a row without a value is no row.
const SKIP_NULLS: [&str; 18] = [
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "max",
    "median",
    "min",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
];

/// Makes the window functions of a session such that they survive their encoding.
///
/// # Errors
/// Never in practice: functions that are there may be replaced.
pub(crate) fn travelling_windows(state: &mut SessionState) -> Result<()> {
    let known: Vec<_> = state.window_functions().values().cloned().collect();
    for function in known {
        if matches!(function.reverse_expr(), ReversedUDWF::Reversed(_)) {
            state.register_udwf(Telling::of(function).into_function())?;
        }
    }
    state.add_analyzer_rule(Arc::new(ToldWindows));
    Ok(())
}

/// A window function that says itself how it is to look at its rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Telling {
    function: Arc<WindowUDF>,
    reversed: bool,
    ignore_nulls: bool,
}

/// What a [`Telling`] is beside its name.
#[derive(Clone, PartialEq, Message)]
struct Told {
    #[prost(bool, tag = "1")]
    reversed: bool,
    #[prost(bool, tag = "2")]
    ignore_nulls: bool,
}

impl Telling {
    fn of(function: Arc<WindowUDF>) -> Self {
        match function.inner().downcast_ref::<Telling>() {
            Some(telling) => telling.clone(),
            None => Telling {
                function,
                reversed: false,
                ignore_nulls: false,
            },
        }
    }

    fn into_function(self) -> Arc<WindowUDF> {
        Arc::new(WindowUDF::new_from_impl(self))
    }
}

#[warn(clippy::missing_trait_methods)]
impl WindowUDFImpl for Telling {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn expressions(&self, args: ExpressionArgs) -> Vec<Arc<dyn PhysicalExpr>> {
        self.function.expressions(args)
    }

    fn partition_evaluator(
        &self,
        args: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        let ignore_nulls = self.ignore_nulls || args.ignore_nulls();
        let (exprs, fields) = (args.input_exprs(), args.input_fields());
        // What the caller says of the direction is lost on the way, and turns if a plan that was
        // decoded is reversed again. What is said here stays true.
        self.function
            .partition_evaluator_factory(PartitionEvaluatorArgs::new(
                exprs,
                fields,
                self.reversed,
                ignore_nulls,
            ))
    }

    fn simplify(&self) -> Option<WindowFunctionSimplification> {
        self.function.simplify()
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        self.function.field(args)
    }

    fn sort_options(&self) -> Option<SortOptions> {
        self.function.sort_options()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(types)
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        match self.function.reverse_expr() {
            ReversedUDWF::Reversed(function) => {
                let other_way = Telling {
                    function,
                    reversed: !self.reversed,
                    ignore_nulls: self.ignore_nulls,
                };
                ReversedUDWF::Reversed(other_way.into_function())
            }
            same => same,
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }

    fn limit_effect(&self, args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        if self.reversed {
            // What looks back otherwise looks ahead now.
            return LimitEffect::Unknown;
        }
        self.function.inner().limit_effect(args)
    }
}

/// What is encoded of a function beside its name: nothing where the name says it all.
pub(crate) fn encode_function(function: &WindowUDF, buf: &mut Vec<u8>) {
    if let Some(telling) = function.inner().downcast_ref::<Telling>() {
        let told = Told {
            reversed: telling.reversed,
            ignore_nulls: telling.ignore_nulls,
        };
        buf.extend(told.encode_to_vec());
    }
}

/// Reads what [`encode_function`] wrote.
pub(crate) fn decode_function(name: &str, buf: &[u8]) -> Result<Arc<WindowUDF>> {
    let told = Told::decode(buf)
        .map_err(|e| internal_datafusion_err!("not how a window function looks: {e}"))?;
    let function = all_default_window_functions()
        .into_iter()
        .find(|function| function.name() == name)
        .ok_or_else(|| internal_datafusion_err!("there is no window function '{name}'"))?;
    let telling = Telling {
        function,
        reversed: told.reversed,
        ignore_nulls: told.ignore_nulls,
    };
    Ok(telling.into_function())
}

/// Moves what would be lost on the way into what is encoded.
#[derive(Debug)]
struct ToldWindows;

impl AnalyzerRule for ToldWindows {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            if !matches!(plan, LogicalPlan::Window(_)) {
                return Ok(Transformed::no(plan));
            }
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let told = expr.transform_up(told)?;
                Ok(told.update_data(|expr| name.restore(expr)))
            })?
            .map_data(LogicalPlan::recompute_schema)
        })
        .data()
    }

    fn name(&self) -> &str {
        "told_windows"
    }
}

fn told(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::WindowFunction(mut window) = expr else {
        return Ok(Transformed::no(expr));
    };
    let changed = match &window.fun {
        WindowFunctionDefinition::WindowUDF(function) => {
            let ignores = window.params.null_treatment == Some(NullTreatment::IgnoreNulls);
            if ignores {
                let mut telling = Telling::of(Arc::clone(function));
                telling.ignore_nulls = true;
                window.fun = WindowFunctionDefinition::WindowUDF(telling.into_function());
            }
            ignores
        }
        WindowFunctionDefinition::AggregateUDF(_) => filter_argument(&mut window)?,
    };
    let expr = Expr::WindowFunction(window);
    Ok(if changed {
        Transformed::yes(expr)
    } else {
        Transformed::no(expr)
    })
}

/// `f(x) FILTER (WHERE p)` becomes `f(CASE WHEN p THEN x END)`.
fn filter_argument(window: &mut WindowFunction) -> Result<bool> {
    let Some(filter) = window.params.filter.take() else {
        return Ok(false);
    };
    let name = window.fun.name();
    let skips = SKIP_NULLS.contains(&name);
    match window.params.args.first_mut() {
        Some(argument) if skips => {
            let value = Box::new(std::mem::take(argument));
            *argument = Expr::Case(Case::new(None, vec![(filter, value)], None));
            Ok(true)
        }
        _ => not_impl_err!(
            "{name}(…) FILTER (WHERE …) OVER (…) is not supported: filter the rows in a subquery that \
             the window is over"
        ),
    }
}

/// Refuses a plan of which something would be lost on the way that no rule has moved.
pub(crate) fn check(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    plan.apply(|node| {
        let windows = if let Some(windows) = node.downcast_ref::<WindowAggExec>() {
            windows.window_expr()
        } else if let Some(windows) = node.downcast_ref::<BoundedWindowAggExec>() {
            windows.window_expr()
        } else {
            return Ok(TreeNodeRecursion::Continue);
        };
        match windows.iter().find(|window| is_lossy(window)) {
            None => Ok(TreeNodeRecursion::Continue),
            Some(window) => {
                let name = window.name();
                not_impl_err!("{name} cannot be sent to an executor as it is")
            }
        }
    })?;
    Ok(())
}

/// Whether the window has something that neither its name nor its encoding says. DataFusion shows
/// it to nobody but who debugs.
fn is_lossy(window: &Arc<dyn WindowExpr>) -> bool {
    let Some(standard) = window.as_any().downcast_ref::<StandardWindowExpr>() else {
        return format!("{window:?}").contains("filter: Some(");
    };
    let function = standard.get_standard_func_expr();
    let Some(function) = function.as_any().downcast_ref::<WindowUDFExpr>() else {
        return true;
    };
    let telling = function.fun().inner().downcast_ref::<Telling>();
    let shown = format!("{function:?}");
    // One of ours knows its direction, whatever that is.
    (shown.contains("is_reversed: true, ignore_nulls: ") && telling.is_none())
        || (shown.ends_with("ignore_nulls: true }") && !telling.is_some_and(|t| t.ignore_nulls))
}
