//! Statements that write, from their logical plans to what becomes of their rows.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, not_impl_err, plan_err};
use datafusion::datasource::{ViewTable, source_as_provider};
use datafusion::execution::SessionState;
use datafusion::logical_expr::dml::{DmlStatement, InsertOp};
use datafusion::logical_expr::{CreateMemoryTable, DdlStatement, LogicalPlan, WriteOp};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use paceline_model::TableId;
use url::Url;

use crate::catalog::Catalog;
use crate::encoder::{FileFormat, Kind};
use crate::managed::{ManagedDefinition, ManagedProvider};
use crate::new_table::{columns_of, new_table};
use crate::statement::resolve;
use crate::unusable::UnusableTable;
use crate::write_files::{FileWrite, WriteFilesExec};
use crate::write_names::Names;
use crate::write_outside::{copy_to, external};

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
    pub(crate) write: FileWrite,
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
