//! Statements that change the catalog.

use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, Result, SchemaReference, TableReference, plan_err};
use datafusion::datasource::listing::ListingTable;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{CreateExternalTable, DdlStatement};
use url::Url;

use crate::catalog::{CATALOG, TableDefinition, ViewDefinition, open_command};
use crate::managed::ManagedDefinition;
use crate::new_table::{columns_of, new_table};
use crate::session::SessionSettings;

/// A change of the catalog, checked as far as one version of it can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// `CREATE SCHEMA`.
    CreateSchema {
        /// Its name.
        name: String,
        /// Whether it is no error if it is there.
        if_not_exists: bool,
    },
    /// `DROP SCHEMA`.
    DropSchema {
        /// Its name.
        name: String,
        /// Whether it is no error if it is not there.
        if_exists: bool,
        /// Whether what is in it goes with it.
        cascade: bool,
    },
    /// `CREATE EXTERNAL TABLE`.
    CreateTable {
        /// The table.
        table: TableDefinition,
        /// Whether it is no error if it is there.
        if_not_exists: bool,
        /// Whether it takes the place of one that is there.
        or_replace: bool,
    },
    /// `CREATE TABLE` with columns and no rows.
    CreateManaged {
        /// The table.
        table: ManagedDefinition,
        /// Whether it is no error if it is there.
        if_not_exists: bool,
        /// Whether it takes the place of one that is there.
        or_replace: bool,
    },
    /// `DROP TABLE`.
    DropTable {
        /// The schema that it is in.
        schema: String,
        /// Its name.
        name: String,
        /// Whether it is no error if it is not there.
        if_exists: bool,
    },
    /// `CREATE VIEW`.
    CreateView {
        /// The view.
        view: ViewDefinition,
        /// Whether it takes the place of one that is there.
        or_replace: bool,
    },
    /// `DROP VIEW`.
    DropView {
        /// The schema that it is in.
        schema: String,
        /// Its name.
        name: String,
        /// Whether it is no error if it is not there.
        if_exists: bool,
    },
}

/// Options that would put a secret into the catalog, where every scheduler and every listing of
/// the state store would show it.
const SECRET_WORDS: [&str; 9] = [
    "secret",
    "password",
    "token",
    "credential",
    "access_key",
    "account_key",
    "private_key",
    "key_as_hex",
    "sas_",
];

/// Reads a change off a DDL statement.
pub(crate) async fn change(
    state: &SessionState,
    settings: &SessionSettings,
    data: Option<&Url>,
    ddl: DdlStatement,
    sql: &str,
) -> Result<Change> {
    let sql = sql.trim().trim_end_matches(';').trim_end().to_string();
    match ddl {
        DdlStatement::CreateExternalTable(command) => {
            create_table(state, settings, &command, sql).await
        }
        DdlStatement::CreateView(view) => {
            if view.temporary {
                return plan_err!("temporary views are not supported: leave TEMPORARY out");
            }
            let (schema, name) = resolve(state, &view.name)?;
            let view_definition = ViewDefinition {
                schema,
                name,
                sql,
                settings: settings.of_text(),
            };
            Ok(Change::CreateView {
                view: view_definition,
                or_replace: view.or_replace,
            })
        }
        DdlStatement::DropTable(drop) => {
            let (schema, name) = resolve(state, &drop.name)?;
            let if_exists = drop.if_exists;
            Ok(Change::DropTable {
                schema,
                name,
                if_exists,
            })
        }
        DdlStatement::DropView(drop) => {
            let (schema, name) = resolve(state, &drop.name)?;
            let if_exists = drop.if_exists;
            Ok(Change::DropView {
                schema,
                name,
                if_exists,
            })
        }
        DdlStatement::CreateCatalogSchema(create) => Ok(Change::CreateSchema {
            name: schema_name(state, &create.schema_name)?,
            if_not_exists: create.if_not_exists,
        }),
        DdlStatement::DropCatalogSchema(drop) => Ok(Change::DropSchema {
            name: resolve_schema(state, &drop.name)?,
            if_exists: drop.if_exists,
            cascade: drop.cascade,
        }),
        DdlStatement::CreateMemoryTable(create) => {
            let columns = columns_of(create.input.schema().inner(), false);
            Ok(Change::CreateManaged {
                table: new_table(state, data, &create, columns, &sql)?,
                if_not_exists: create.if_not_exists,
                or_replace: create.or_replace,
            })
        }
        other => Err(DataFusionError::NotImplemented(format!(
            "{} is not supported",
            other.name()
        ))),
    }
}

async fn create_table(
    state: &SessionState,
    settings: &SessionSettings,
    command: &CreateExternalTable,
    sql: String,
) -> Result<Change> {
    if let Some(name) = command.options.keys().find(|name| is_secret(name)) {
        return plan_err!(
            "option '{name}' would put a secret into the catalog: give credentials to the \
             schedulers and executors instead, by their environment or configuration"
        );
    }
    for location in &command.locations {
        check_location(location)?;
    }
    if command.unbounded || command.temporary {
        return plan_err!("UNBOUNDED and TEMPORARY tables are not supported");
    }
    let (schema, name) = resolve(state, &command.name)?;
    let provider = open_command(state, command).await?;
    let columns = provider.schema();
    if columns.fields().is_empty() {
        return plan_err!(
            "no columns were found at {}: check the location, or list the columns",
            command.locations.join(", ")
        );
    }
    Ok(Change::CreateTable {
        table: TableDefinition {
            schema,
            name,
            location: command.locations.join(","),
            format: command.file_type.to_uppercase(),
            options: command.options.clone().into_iter().collect(),
            partition_columns: partition_columns(command, provider.as_ref()),
            sql,
            columns,
            settings: settings.of_text(),
        },
        if_not_exists: command.if_not_exists,
        or_replace: command.or_replace,
    })
}

/// The columns that are in the names of directories: those that the statement names, or those that
/// were found where it names none.
fn partition_columns(command: &CreateExternalTable, table: &dyn TableProvider) -> Vec<String> {
    let Some(listing) = table.downcast_ref::<ListingTable>() else {
        return command.table_partition_cols.clone();
    };
    let found = listing.options().table_partition_cols.iter();
    found.map(|(name, _)| name.clone()).collect()
}

/// Refuses a location that holds a secret, or that means something else on every machine.
pub(crate) fn check_location(location: &str) -> Result<()> {
    match Url::parse(location) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => plan_err!(
            "a LOCATION with a user name or a password would put a secret into the catalog: give \
             credentials to the schedulers and executors instead, by their environment or \
             configuration"
        ),
        Err(_) if !location.starts_with('/') => plan_err!(
            "LOCATION '{location}' is relative, but every scheduler and executor must find the \
             same files there: give an absolute path or a URL"
        ),
        _ => Ok(()),
    }
}

pub(crate) fn is_secret(option: &str) -> bool {
    let option = option.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| option.contains(word))
}

pub(crate) fn resolve(state: &SessionState, name: &TableReference) -> Result<(String, String)> {
    let defaults = &state.config_options().catalog;
    let name = name
        .clone()
        .resolve(&defaults.default_catalog, &defaults.default_schema);
    in_catalog(&name.catalog)?;
    Ok((name.schema.to_string(), name.table.to_string()))
}

fn resolve_schema(state: &SessionState, name: &SchemaReference) -> Result<String> {
    match name {
        SchemaReference::Bare { .. } => {
            in_catalog(&state.config_options().catalog.default_catalog)?
        }
        SchemaReference::Full { catalog, .. } => in_catalog(catalog)?,
    }
    Ok(name.schema_name().to_string())
}

fn in_catalog(catalog: &str) -> Result<()> {
    if catalog == CATALOG {
        return Ok(());
    }
    plan_err!("there is no catalog '{catalog}': use '{CATALOG}'")
}

fn schema_name(state: &SessionState, name: &str) -> Result<String> {
    let default = &state.config_options().catalog.default_catalog;
    let (catalog, schema) = name.split_once('.').unwrap_or((default, name));
    in_catalog(catalog)?;
    Ok(schema.to_string())
}
