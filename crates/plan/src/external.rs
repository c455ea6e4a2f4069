//! External tables that are opened again, with the columns that were found when they were created.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::catalog::TableProvider;
use datafusion::common::{DFSchema, Result, plan_datafusion_err, plan_err};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{CreateExternalTable, DdlStatement, LogicalPlan};

use crate::catalog::{TableDefinition, open_command};

/// Opens a table as it was created, without looking into its files for its columns.
pub(crate) async fn open(
    state: &SessionState,
    table: &TableDefinition,
) -> Result<Arc<dyn TableProvider>> {
    let LogicalPlan::Ddl(DdlStatement::CreateExternalTable(mut command)) =
        state.create_logical_plan(&table.sql).await?
    else {
        return plan_err!("its definition is no CREATE EXTERNAL TABLE statement");
    };
    if command.schema.fields().is_empty() {
        return found(state, &command, table);
    }
    let columns = table.columns.as_ref().clone();
    command.schema = Arc::new(DFSchema::try_from(columns)?);
    open_command(state, &command).await
}

/// A table whose statement lists no columns. Of a folder it has the files that are called as those of
/// its format are: they are what its columns were found in. DataFusion, which leaves the others out as
/// well, does so only where it looks for columns.
fn found(
    state: &SessionState,
    command: &CreateExternalTable,
    table: &TableDefinition,
) -> Result<Arc<dyn TableProvider>> {
    let kind = &command.file_type;
    let format = state
        .get_file_format_factory(kind)
        .ok_or_else(|| plan_datafusion_err!("there is no format '{kind}'"))?
        .create(state, &command.options)?;
    let paths = command
        .locations
        .iter()
        .map(|location| {
            let path = ListingTableUrl::parse(location)?.with_table_ref(command.name.clone());
            narrowed(path, format.as_ref(), kind)
        })
        .collect::<Result<Vec<_>>>()?;
    let is_partition = |name: &String| table.partition_columns.contains(name);
    let (of_folders, of_files): (Vec<_>, Vec<_>) = table
        .columns
        .fields()
        .iter()
        .cloned()
        .partition(|field| is_partition(field.name()));
    let partitions: Vec<(String, DataType)> = of_folders
        .iter()
        .map(|field| (field.name().clone(), field.data_type().clone()))
        .collect();
    let columns = Schema::new_with_metadata(of_files, table.columns.metadata().clone());
    let options = ListingOptions::new(format)
        .with_file_extension("")
        .with_table_partition_cols(partitions)
        .with_file_sort_order(command.order_exprs.clone());
    let config = ListingTableConfig::new_with_multi_paths(paths)
        .with_listing_options(options)
        .with_schema(Arc::new(columns));
    let statistics = state.runtime_env().cache_manager.get_file_statistic_cache();
    let listing = ListingTable::try_new(config)?
        .with_cache(statistics)
        .with_definition(command.definition.clone())
        .with_constraints(command.constraints.clone())
        .with_column_defaults(command.column_defaults.clone());
    Ok(Arc::new(listing))
}

fn narrowed(path: ListingTableUrl, format: &dyn FileFormat, kind: &str) -> Result<ListingTableUrl> {
    if !path.is_folder() || path.get_glob().is_some() {
        return Ok(path);
    }
    let compressed = format
        .compression_type()
        .and_then(|compression| format.get_ext_with_compression(&compression).ok());
    let extension = compressed.unwrap_or_else(|| kind.to_lowercase());
    path.with_glob(&format!("*.{extension}"))
}
