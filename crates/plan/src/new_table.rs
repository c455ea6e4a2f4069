//! Managed tables that are about to be.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{Result, not_impl_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::CreateMemoryTable;
use paceline_model::TableId;
use url::Url;
use uuid::Uuid;

use crate::catalog::{CATALOG, Catalog};
use crate::encoder::{FileFormat, Kind};
use crate::managed::ManagedDefinition;
use crate::planner::Planned;
use crate::statement::resolve;
use crate::writing::{WriteInto, Writing, count_schema};

/// A new managed table, under `data`.
pub(crate) fn new_table(
    state: &SessionState,
    data: Option<&Url>,
    create: &CreateMemoryTable,
    columns: SchemaRef,
    sql: &str,
) -> Result<ManagedDefinition> {
    if create.temporary {
        return plan_err!("temporary tables are not supported: leave TEMPORARY out");
    }
    if !create.constraints.is_empty() {
        return not_impl_err!("PRIMARY KEY and UNIQUE are not supported: leave them out");
    }
    if let Some((column, _)) = create.column_defaults.first() {
        return not_impl_err!("DEFAULT is not supported: leave it out of column '{column}'");
    }
    if columns.fields().is_empty() {
        return plan_err!("a table needs at least one column");
    }
    for (index, field) in columns.fields().iter().enumerate() {
        let mut before = columns.fields().iter().take(index);
        if before.any(|other| other.name() == field.name()) {
            return plan_err!(
                "two columns are called '{}'; rename one with AS",
                field.name()
            );
        }
    }
    let (schema, name) = resolve(state, &create.name)?;
    let id = TableId(Uuid::now_v7());
    let Some(data) = data else {
        return plan_err!(
            "there is no place for the files of '{schema}.{name}': set scheduler.data_location"
        );
    };
    let base = data.as_str().trim_end_matches('/');
    let columns_can_be_written = FileFormat::plain(Kind::Parquet).validate(&columns);
    columns_can_be_written.map_err(|e| e.context("these columns cannot be stored"))?;
    Ok(ManagedDefinition {
        schema,
        name,
        id,
        location: format!("{base}/{id}/"),
        sql: sql.trim().trim_end_matches(';').trim_end().to_string(),
        columns,
        files: vec![],
    })
}

/// The columns of a plan, as a table has them. Where they come from a query, any may be null: that one
/// never is, is a promise of the query and not of the table.
pub(crate) fn columns_of(plan: &SchemaRef, nullable: bool) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        let nullable = nullable || field.is_nullable();
        Field::new(field.name(), field.data_type().clone(), nullable)
    };
    let fields: Vec<Field> = plan.fields().iter().map(field).collect();
    Arc::new(Schema::new(fields))
}

/// What there is to say at once if the name of a new table is taken. The log decides again when the
/// table is made.
pub(crate) fn name_taken(writing: &Writing, catalog: &Catalog) -> Result<Option<Planned>> {
    let WriteInto::Create {
        table,
        if_not_exists,
        or_replace: false,
    } = &writing.into
    else {
        return Ok(None);
    };
    let list = catalog.list();
    let schema = list
        .catalog(CATALOG)
        .and_then(|all| all.schema(&table.schema));
    let Some(schema) = schema else {
        return plan_err!("schema '{}' does not exist", table.schema);
    };
    match (schema.table_exist(&table.name), if_not_exists) {
        (false, _) => Ok(None),
        (true, false) => plan_err!("'{}.{}' already exists", table.schema, table.name),
        (true, true) => {
            let none: ArrayRef = Arc::new(UInt64Array::from(vec![0]));
            let schema = count_schema();
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![none])?;
            let batches = vec![batch];
            Ok(Some(Planned::Rows { schema, batches }))
        }
    }
}
