//! From a statement's text to its logical plan.

use datafusion::common::{DataFusionError, Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::dialect_from_str;

use crate::depth::{check_plan, check_statement, check_text};
use crate::parameters::{bound, check_view, numbered};
use crate::unusable::UnusableTable;

/// The plan of a text that holds one statement, with values for its parameters, if it is given any.
///
/// # Errors
/// What is wrong with the statement, or with what it names.
pub(crate) async fn logical_plan(
    state: &SessionState,
    sql: &str,
    parameters: Vec<ScalarValue>,
) -> Result<LogicalPlan> {
    let statement = parse_one(state, sql)?;
    let plan = match state.statement_to_plan(statement).await {
        Ok(plan) => plan,
        // That a column is not there says little if the view cannot be used at all.
        Err(error) => {
            let statement = parse_one(state, sql)?;
            return Err(unusable(state, &statement).await.unwrap_or(error));
        }
    };
    check_plan(&plan)?;
    check_view(&plan)?;
    if parameters.is_empty() {
        return Ok(plan);
    }
    bound(plan, parameters)
}

/// What is wrong with a table that the statement names, if it is in the catalog and unusable.
async fn unusable(state: &SessionState, statement: &Statement) -> Option<DataFusionError> {
    let options = state.config_options();
    let named = state.resolve_table_references(statement).ok()?;
    for table in named {
        let (catalog, schema) = (
            &options.catalog.default_catalog,
            &options.catalog.default_schema,
        );
        let table = table.resolve(catalog, schema);
        let catalog = state.catalog_list().catalog(&table.catalog)?;
        let Some(schema) = catalog.schema(&table.schema) else {
            continue;
        };
        if let Ok(Some(found)) = schema.table(&table.table).await
            && let Some(found) = found.downcast_ref::<UnusableTable>()
        {
            return Some(found.error());
        }
    }
    None
}

/// A statement's text and nothing after it.
///
/// # Errors
/// If the text holds no statement, several, or one that nests too deeply.
fn parse_one(state: &SessionState, sql: &str) -> Result<Statement> {
    let options = &state.config_options().sql_parser;
    let dialect = dialect_from_str(options.dialect)
        .ok_or_else(|| plan_datafusion_err!("there is no dialect '{}'", options.dialect))?;
    check_text(dialect.as_ref(), sql)?;
    let mut statements = DFParserBuilder::new(numbered(dialect.as_ref(), sql)?)
        .with_dialect(dialect.as_ref())
        .with_recursion_limit(options.recursion_limit.get())
        .build()?
        .parse_statements()?;
    match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => {
            check_statement(&statement)?;
            Ok(statement)
        }
        (None, _) => plan_err!("the text holds no statement"),
        (_, more) => plan_err!(
            "only one statement can be run at a time, but the text holds {}",
            more + 1
        ),
    }
}
