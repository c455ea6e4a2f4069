//! Statements that write, from their logical plans to what becomes of their rows.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result, not_impl_err, plan_err};
use datafusion::datasource::{ViewTable, source_as_provider};
use datafusion::execution::SessionState;
use datafusion::logical_expr::dml::{CopyTo, DmlStatement, InsertOp};
use datafusion::logical_expr::{
    CreateMemoryTable, DdlStatement, LogicalPlan, TableSource, WriteOp,
};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use paceline_model::TableId;
use url::Url;
use uuid::Uuid;

use crate::catalog::Catalog;
use crate::encoder::{FileFormat, Kind};
use crate::managed::{ManagedDefinition, ManagedProvider};
use crate::statement::{check_location, is_secret, resolve};
use crate::unusable::UnusableTable;
use crate::write_files::{FileWrite, WriteFilesExec};
use crate::write_names::Names;

/// What becomes of the files that a statement writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteInto {
    /// They are a new table.
    Create {
        /// The table, still without files.
        table: ManagedDefinition,
        /// Whether it is no error if the name is taken.
        if_not_exists: bool,
        /// Whether the new table takes the place of one that is there.
        or_replace: bool,
    },
    /// They are more rows of a managed table.
    Append {
        /// The schema that it is in.
        schema: String,
        /// Its name.
        name: String,
        /// Which table it was when the statement was planned.
        table: TableId,
        /// The folder of its files.
        location: String,
    },
    /// They are somebody else's: each is there for all to see once it is written.
    Files {
        /// Where they are written: a folder if it ends in `/`, else one file.
        location: String,
    },
}

/// A write before its rows are planned.
pub(crate) struct Writing {
    pub(crate) input: Arc<LogicalPlan>,
    pub(crate) into: WriteInto,
    write: FileWrite,
}

/// The one column of what a write answers.
pub fn count_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(
        "count",
        DataType::UInt64,
        false,
    )]))
}

/// Whether a statement writes rows.
pub(crate) fn writes(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Dml(_) | LogicalPlan::Copy(_) => true,
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => !without_rows(create),
        _ => false,
    }
}

/// `CREATE TABLE t (…)`, as opposed to `CREATE TABLE t AS …`.
pub(crate) fn without_rows(create: &CreateMemoryTable) -> bool {
    matches!(&*create.input, LogicalPlan::EmptyRelation(none) if !none.produce_one_row)
}

impl Writing {
    /// Reads a write off a statement for which [`writes`] holds.
    pub(crate) fn of(
        state: &SessionState,
        catalog: &Catalog,
        data: Option<&Url>,
        plan: &LogicalPlan,
        sql: &str,
    ) -> Result<Self> {
        match plan {
            LogicalPlan::Dml(dml) => insert(state, catalog, dml),
            LogicalPlan::Copy(copy) => copy_to(copy),
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => {
                let columns = columns_of(create.input.schema().inner(), true);
                let table = new_table(state, data, create, columns, sql)?;
                let write = FileWrite {
                    location: table.location.clone(),
                    names: Names::Aside,
                    format: FileFormat::plain(Kind::Parquet),
                    columns: Arc::clone(&table.columns),
                };
                Ok(Writing {
                    input: Arc::clone(&create.input),
                    into: WriteInto::Create {
                        table,
                        if_not_exists: create.if_not_exists,
                        or_replace: create.or_replace,
                    },
                    write,
                })
            }
            other => not_impl_err!("{} does not write", other.display()),
        }
    }

    /// Has what `plan` makes written.
    pub(crate) fn over(&self, plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let partitions = plan.output_partitioning().partition_count();
        let plan = match (self.write.names, partitions) {
            (Names::Whole, 2..) => Arc::new(CoalescePartitionsExec::new(plan)),
            _ => plan,
        };
        Arc::new(WriteFilesExec::new(plan, self.write.clone(), 0))
    }
}

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

fn insert(state: &SessionState, catalog: &Catalog, dml: &DmlStatement) -> Result<Writing> {
    let (schema, name) = resolve(state, &dml.table_name)?;
    match &dml.op {
        WriteOp::Insert(InsertOp::Append) => {}
        WriteOp::Insert(InsertOp::Overwrite) => {
            return not_impl_err!(
                "INSERT OVERWRITE is not supported: CREATE OR REPLACE TABLE {name} AS …"
            );
        }
        other => {
            return not_impl_err!(
                "{} of table '{schema}.{name}' is not supported: rows are only added; CREATE OR \
                 REPLACE TABLE {name} AS … writes a table anew",
                other.name().to_uppercase()
            );
        }
    }
    let provider = source_as_provider(&dml.target)?;
    if let Some(unusable) = provider.downcast_ref::<UnusableTable>() {
        return Err(unusable.error());
    }
    let (into, write) = if let Some(ManagedProvider(table)) = provider.downcast_ref() {
        managed(table)
    } else if provider.is::<ViewTable>() {
        return plan_err!("'{schema}.{name}' is a view: rows are inserted into tables");
    } else {
        external(catalog, &schema, &name, dml.target.as_ref())?
    };
    Ok(Writing {
        input: Arc::clone(&dml.input),
        into,
        write,
    })
}

fn managed(table: &ManagedDefinition) -> (WriteInto, FileWrite) {
    let into = WriteInto::Append {
        schema: table.schema.clone(),
        name: table.name.clone(),
        table: table.id,
        location: table.location.clone(),
    };
    let write = FileWrite {
        location: table.location.clone(),
        names: Names::Aside,
        format: FileFormat::plain(Kind::Parquet),
        columns: Arc::clone(&table.columns),
    };
    (into, write)
}

fn external(
    catalog: &Catalog,
    schema: &str,
    name: &str,
    target: &dyn TableSource,
) -> Result<(WriteInto, FileWrite)> {
    let Some(table) = catalog.external(schema, name) else {
        return plan_err!("'{schema}.{name}' is no table that rows can be inserted into");
    };
    if !table.partition_columns.is_empty() {
        return not_impl_err!(
            "'{schema}.{name}' is divided by {}: INSERT into such tables is not supported",
            table.partition_columns.join(", ")
        );
    }
    if !table.location.ends_with('/') || table.location.contains(',') {
        return plan_err!(
            "'{schema}.{name}' is not one folder: rows can be inserted where LOCATION ends in '/'"
        );
    }
    let location = url_of(&table.location)?;
    let format = format_of(&table.format, table.options.clone())?;
    let columns = columns_of(&target.schema(), false);
    format.validate(&columns)?;
    let write = FileWrite {
        location: location.clone(),
        names: Names::Repeatable,
        format,
        columns,
    };
    Ok((WriteInto::Files { location }, write))
}

fn copy_to(copy: &CopyTo) -> Result<Writing> {
    if !copy.partition_by.is_empty() {
        return not_impl_err!("COPY … PARTITIONED BY is not supported: leave it out");
    }
    if let Some(option) = copy.options.keys().find(|option| is_secret(option)) {
        return plan_err!(
            "option '{option}' would put a secret into the journal: give credentials to the \
             executors instead, by their environment or configuration"
        );
    }
    check_location(&copy.output_url)?;
    let location = url_of(&copy.output_url)?;
    let format = format_of(
        &copy.file_type.get_ext(),
        copy.options.clone().into_iter().collect(),
    )?;
    let columns = columns_of(copy.input.schema().inner(), true);
    format.validate(&columns)?;
    let last = location.rsplit('/').next().unwrap_or_default();
    // As in DataFusion, a name with an ending is that of a file.
    let (location, names) = match last {
        "" => (location, Names::Repeatable),
        last if last.contains('.') => (location, Names::Whole),
        _ => (format!("{location}/"), Names::Repeatable),
    };
    Ok(Writing {
        input: Arc::clone(&copy.input),
        into: WriteInto::Files {
            location: location.clone(),
        },
        write: FileWrite {
            location,
            names,
            format,
            columns,
        },
    })
}

fn format_of(
    name: &str,
    options: std::collections::BTreeMap<String, String>,
) -> Result<FileFormat> {
    match Kind::parse(name.trim_start_matches('.')) {
        Some(kind) => Ok(FileFormat { kind, options }),
        None => not_impl_err!("{name} files are not written: use PARQUET, CSV, JSON or ARROW"),
    }
}

/// A location as a URL; a path is one of files.
fn url_of(location: &str) -> Result<String> {
    if location.starts_with('/') {
        let url = match location.ends_with('/') {
            true => Url::from_directory_path(location),
            false => Url::from_file_path(location),
        };
        return url
            .map(String::from)
            .map_err(|()| DataFusionError::Plan(format!("'{location}' is no absolute path")));
    }
    match Url::parse(location) {
        Ok(url) => Ok(url.into()),
        Err(error) => plan_err!("'{location}' is no location: {error}"),
    }
}
