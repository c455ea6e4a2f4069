//! Tables and views, as definitions that travel and as providers that plan.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, TableProvider, TableProviderFactory,
};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::datasource::listing_table_factory::ListingTableFactory;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{CreateExternalTable, DdlStatement, LogicalPlan};
use paceline_model::{CatalogVersion, ErrorClass, QueryError};

use crate::engine::Engine;
use crate::error::classify;
use crate::external::open;
use crate::managed::{ManagedDefinition, ManagedProvider};
use crate::session::SessionSettings;
use crate::shape::planning_state;
use crate::unusable::UnusableTable;

/// The one catalog that tables live in.
pub(crate) const CATALOG: &str = "paceline";

/// An external table as it was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDefinition {
    /// The schema that it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Where its files lie; several locations are separated by commas.
    pub location: String,
    /// What `STORED AS` said.
    pub format: String,
    /// What `OPTIONS` said.
    pub options: BTreeMap<String, String>,
    /// Columns that are in the names of directories and not in the files.
    pub partition_columns: Vec<String>,
    /// The `CREATE EXTERNAL TABLE` statement.
    pub sql: String,
    /// Its columns, the inferred ones included, so that nobody has to infer them again.
    pub columns: SchemaRef,
    /// The settings that its statement means what it means under.
    pub settings: SessionSettings,
}

/// A view as it was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewDefinition {
    /// The schema that it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The `CREATE VIEW` statement.
    pub sql: String,
    /// The settings that its statement means what it means under.
    pub settings: SessionSettings,
}

/// All that one version of the catalog holds. Views come in an order in which each may use those
/// before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definitions {
    /// Schemas.
    pub schemas: Vec<String>,
    /// External tables.
    pub tables: Vec<TableDefinition>,
    /// Managed tables.
    pub managed: Vec<ManagedDefinition>,
    /// Views.
    pub views: Vec<ViewDefinition>,
}

/// Tables that were opened, by schema and name.
type OpenTables = BTreeMap<(String, String), (TableDefinition, Arc<dyn TableProvider>)>;

/// One version of the catalog, ready to plan with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    version: CatalogVersion,
    list: Arc<dyn CatalogProviderList>,
    tables: Arc<OpenTables>,
}

impl Catalog {
    /// The catalog without a table.
    ///
    /// # Errors
    /// Never in practice: an empty catalog has nothing that could be at fault.
    pub async fn empty(engine: &Engine) -> std::result::Result<Self, QueryError> {
        Self::of(engine, CatalogVersion(0), &Definitions::default(), None).await
    }

    /// Makes a version without managed tables ready to plan with: see [`of`](Self::of).
    ///
    /// # Errors
    /// Names the table or view that cannot be used, and why.
    pub async fn build(
        engine: &Engine,
        version: CatalogVersion,
        schemas: &[String],
        tables: &[TableDefinition],
        views: &[ViewDefinition],
        previous: Option<&Catalog>,
    ) -> std::result::Result<Self, QueryError> {
        let definitions = Definitions {
            schemas: schemas.to_vec(),
            tables: tables.to_vec(),
            managed: vec![],
            views: views.to_vec(),
        };
        Self::of(engine, version, &definitions, previous).await
    }

    /// Makes a version ready to plan with. External tables that `previous` has with the same definition
    /// are taken from there.
    ///
    /// # Errors
    /// Names the table or view that cannot be used, and why.
    pub async fn of(
        engine: &Engine,
        version: CatalogVersion,
        definitions: &Definitions,
        previous: Option<&Catalog>,
    ) -> std::result::Result<Self, QueryError> {
        let Definitions {
            schemas,
            tables,
            managed,
            views,
        } = definitions;
        let catalog = Arc::new(MemoryCatalogProvider::new());
        let names = schemas.iter().map(String::as_str);
        let names = names.chain(tables.iter().map(|t| t.schema.as_str()));
        let names = names.chain(managed.iter().map(|t| t.schema.as_str()));
        for name in names
            .chain(views.iter().map(|v| v.schema.as_str()))
            .chain(["public"])
        {
            if catalog.schema(name).is_none() {
                let schema = Arc::new(MemorySchemaProvider::new());
                catalog
                    .register_schema(name, schema)
                    .map_err(|e| classify(&e))?;
            }
        }
        let list = Arc::new(MemoryCatalogProviderList::new());
        list.register_catalog(CATALOG.to_string(), catalog.clone());
        let (settings, runtime) = (SessionSettings::default(), Arc::clone(engine.runtime()));
        let state = planning_state(engine, &settings, list.clone(), runtime, None)
            .map_err(|e| classify(&e))?;
        let mut providers = BTreeMap::new();
        for table in tables {
            let named = |e: DataFusionError| about("table", &table.schema, &table.name, &e);
            let key = (table.schema.clone(), table.name.clone());
            let known = previous
                .and_then(|p| p.tables.get(&key))
                .filter(|(d, _)| d == table);
            let provider = match known {
                Some((_, provider)) => Arc::clone(provider),
                // One table whose files are gone must not take the others with it.
                None => opened(engine, &state, table).await.unwrap_or_else(|error| {
                    let error = named(error);
                    tracing::warn!(%error, "a table cannot be opened; statements that use it fail");
                    Arc::new(UnusableTable::new(Arc::clone(&table.columns), error))
                }),
            };
            if provider.downcast_ref::<UnusableTable>().is_none() {
                providers.insert(key, (table.clone(), Arc::clone(&provider)));
            }
            register(&catalog, &table.schema, &table.name, provider).map_err(named)?;
        }
        for table in managed {
            let named = |e: DataFusionError| about("table", &table.schema, &table.name, &e);
            let provider = Arc::new(ManagedProvider(table.clone()));
            register(&catalog, &table.schema, &table.name, provider).map_err(named)?;
        }
        for view in views {
            let named = |e: DataFusionError| about("view", &view.schema, &view.name, &e);
            let provider = view_provider(engine, &state, view)
                .await
                .unwrap_or_else(|error| {
                    let error = named(error);
                    tracing::warn!(%error, "a view cannot be planned; statements that use it fail");
                    Arc::new(UnusableTable::new(Arc::new(Schema::empty()), error))
                });
            register(&catalog, &view.schema, &view.name, provider).map_err(named)?;
        }
        Ok(Catalog {
            version,
            list,
            tables: Arc::new(providers),
        })
    }

    /// The version that this is.
    pub fn version(&self) -> CatalogVersion {
        self.version
    }

    /// The external table of that name, if it can be used.
    pub(crate) fn external(&self, schema: &str, name: &str) -> Option<&TableDefinition> {
        let key = (schema.to_string(), name.to_string());
        self.tables.get(&key).map(|(definition, _)| definition)
    }

    pub(crate) fn list(&self) -> Arc<dyn CatalogProviderList> {
        Arc::clone(&self.list)
    }
}

fn about(kind: &str, schema: &str, name: &str, error: &DataFusionError) -> QueryError {
    let error = classify(error);
    let class = match error.class {
        ErrorClass::Bug => ErrorClass::User,
        class => class,
    };
    QueryError::new(class, format!("{kind} {schema}.{name}: {}", error.message))
}

fn register(
    catalog: &MemoryCatalogProvider,
    schema: &str,
    name: &str,
    provider: Arc<dyn TableProvider>,
) -> Result<()> {
    match catalog.schema(schema) {
        Some(schema) => schema.register_table(name.to_string(), provider).map(drop),
        None => plan_err!("schema '{schema}' does not exist"),
    }
}

/// Opens a table from the command that created it.
pub(crate) async fn open_command(
    state: &SessionState,
    command: &CreateExternalTable,
) -> Result<Arc<dyn TableProvider>> {
    ListingTableFactory::new()
        .create(state, command)
        .await
        .map_err(|error| error.context(format!("cannot open {}", command.locations.join(", "))))
}

/// A state that understands a statement as it was meant when it was written; `default` if that was
/// under no settings of its own.
fn understanding<'a>(
    engine: &Engine,
    default: &'a SessionState,
    settings: &SessionSettings,
) -> Result<Cow<'a, SessionState>> {
    if settings.0.is_empty() {
        return Ok(Cow::Borrowed(default));
    }
    let (catalogs, runtime) = (Arc::clone(default.catalog_list()), default.runtime_env());
    let state = planning_state(engine, settings, catalogs, Arc::clone(runtime), None)?;
    Ok(Cow::Owned(state))
}

async fn opened(
    engine: &Engine,
    state: &SessionState,
    table: &TableDefinition,
) -> Result<Arc<dyn TableProvider>> {
    let state = understanding(engine, state, &table.settings)?;
    open(&state, table).await
}

async fn view_provider(
    engine: &Engine,
    state: &SessionState,
    view: &ViewDefinition,
) -> Result<Arc<dyn TableProvider>> {
    let state = understanding(engine, state, &view.settings)?;
    match state.create_logical_plan(&view.sql).await? {
        LogicalPlan::Ddl(DdlStatement::CreateView(view)) => {
            let plan = Arc::unwrap_or_clone(view.input);
            let table = datafusion::datasource::ViewTable::new(plan, view.definition);
            Ok(Arc::new(table))
        }
        _ => plan_err!("its definition is no CREATE VIEW statement"),
    }
}

/// A schema as an Arrow IPC stream without a batch.
pub fn schema_to_ipc(schema: &Schema) -> Vec<u8> {
    // Writing to memory fails for no schema that arrow can hold; an empty answer is refused by
    // whoever reads it.
    let write = || -> std::result::Result<Vec<u8>, ArrowError> {
        let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
        writer.finish()?;
        writer.into_inner()
    };
    write().unwrap_or_default()
}

/// Reads what [`schema_to_ipc`] wrote.
///
/// # Errors
/// If the bytes hold no schema.
pub fn schema_from_ipc(bytes: &[u8]) -> Result<SchemaRef> {
    Ok(StreamReader::try_new(Cursor::new(bytes), None)?.schema())
}
