//! Parameters of statements: how they are named, and how values take their places.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{ParamValues, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{DdlStatement, Expr, LogicalPlan, Values};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// The words of a text in which each `?` is called `$1`, `$2` and so on in the order of the text, as
/// JDBC and Python's DB-API mean it. Where the dialect has an operator `?`, it stays one.
///
/// # Errors
/// If the text is not made of words, or has parameters of both kinds.
pub(crate) fn numbered(dialect: &dyn Dialect, sql: &str) -> Result<Vec<TokenWithSpan>> {
    let mut words = Tokenizer::new(dialect, sql)
        .tokenize_with_location()
        .map_err(ParserError::from)?;
    let (mut marks, mut named) = (0, None);
    for word in &mut words {
        match &mut word.token {
            Token::Placeholder(name) if name.as_str() == "?" => {
                marks += 1;
                *name = format!("${marks}");
            }
            Token::Placeholder(name) => named = Some(name.clone()),
            _ => {}
        }
    }
    match named {
        Some(name) if marks > 0 => plan_err!(
            "the statement has parameters of two kinds, '?' and '{name}': use either '?' for all \
             of them, in order, or '$1', '$2' and so on"
        ),
        _ => Ok(words),
    }
}

/// Refuses parameters of a view. Its text is what is kept of it, and whoever reads that has no values for
/// them.
pub(crate) fn check_view(plan: &LogicalPlan) -> Result<()> {
    let LogicalPlan::Ddl(DdlStatement::CreateView(view)) = plan else {
        return Ok(());
    };
    match view.input.get_parameter_names()?.into_iter().min() {
        None => Ok(()),
        Some(first) => plan_err!(
            "a view has no parameters: write the value into the statement in the place of '{first}'"
        ),
    }
}

/// The plan with values in the places of its parameters.
///
/// # Errors
/// If a value is missing, or cannot become what its column is.
pub(crate) fn bound(plan: LogicalPlan, values: Vec<ScalarValue>) -> Result<LogicalPlan> {
    let values = ParamValues::from(values);
    inserted(plan, &values)?.with_param_values(values)
}

/// The plan with the values that are inserted as they are, as what their columns are. Planning takes
/// for granted that they are that; but a client binds text, and a column has views of text.
///
/// Elsewhere a value keeps its type: `id = 1.5` must not become `id = 1`.
fn inserted(plan: LogicalPlan, bound: &ParamValues) -> Result<LogicalPlan> {
    plan.transform_down(|node| match node {
        LogicalPlan::Values(Values { schema, values }) => {
            let rows = values.into_iter().map(|row| {
                let row = row.into_iter().map(|value| as_column(value, bound));
                row.collect::<Result<Vec<_>>>()
            });
            let values = rows.collect::<Result<Vec<_>>>()?;
            let values = LogicalPlan::Values(Values { schema, values });
            Ok(Transformed::yes(values))
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}

/// Only what is inserted has a type before it has a value.
fn as_column(value: Expr, bound: &ParamValues) -> Result<Expr> {
    let Expr::Placeholder(Placeholder {
        id,
        field: Some(column),
    }) = &value
    else {
        return Ok(value);
    };
    let (given, metadata) = bound.get_placeholders_with_values(id)?.into_inner();
    let given = given.cast_to(column.data_type())?;
    Ok(Expr::Literal(given, metadata))
}
