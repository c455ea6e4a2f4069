//! The catalog that statements are planned with, and how it changes.

use std::sync::atomic::{AtomicU64, Ordering};

use paceline_model::{CatalogVersion, ErrorClass, QueryError, SchedulerId};
use paceline_plan::{
    Catalog, Change, Engine, TableDefinition, ViewDefinition, schema_from_ipc, schema_to_ipc,
};
use paceline_store::{
    CatalogError, CatalogLog, CatalogSnapshot, CatalogStatement, ExternalTable, OnExisting,
    OnMissing, Relation, TableFormat, View,
};
use tokio::sync::{Mutex, watch};

/// The newest version that is ready to plan with.
#[derive(Debug)]
pub(crate) struct Catalogs {
    engine: Engine,
    log: CatalogLog,
    ready: watch::Sender<Catalog>,
    /// Held while a version is made ready.
    making: Mutex<()>,
    /// How often a peer may have failed to tell of a version.
    doubts: AtomicU64,
    /// How many of those have been looked after.
    settled: AtomicU64,
}

impl Catalogs {
    pub(crate) async fn open(engine: Engine, log: CatalogLog) -> Result<Self, QueryError> {
        let empty = Catalog::empty(&engine).await?;
        let catalogs = Catalogs {
            engine,
            log,
            ready: watch::Sender::new(empty),
            making: Mutex::new(()),
            doubts: AtomicU64::new(0),
            settled: AtomicU64::new(0),
        };
        catalogs.catch_up().await?;
        Ok(catalogs)
    }

    /// The catalog to plan the next statement with. Asks the store for nothing, unless this
    /// scheduler may have missed something.
    pub(crate) async fn current(&self) -> Result<Catalog, QueryError> {
        // A doubt that comes while the tail is read is about what comes later.
        let doubts = self.doubts.load(Ordering::Acquire);
        if self.settled.load(Ordering::Acquire) < doubts {
            self.log.refresh_tail().await.map_err(error)?;
            self.catch_up().await?;
            self.settled.fetch_max(doubts, Ordering::AcqRel);
        }
        Ok(self.ready.borrow().clone())
    }

    pub(crate) fn version(&self) -> CatalogVersion {
        self.ready.borrow().version()
    }

    /// Notes that this scheduler missed beats, so that peers may have gone on without it.
    pub(crate) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// Makes a version that a peer told of ready, if it is not.
    pub(crate) async fn reach(&self, version: CatalogVersion) -> Result<Catalog, QueryError> {
        if self.version() < version {
            self.log.refresh_to(version).await.map_err(error)?;
            self.catch_up().await?;
        }
        Ok(self.ready.borrow().clone())
    }

    /// Whether the catalog has a table that was made by just this statement.
    pub(crate) fn defines(&self, schema: &str, name: &str, sql: &str) -> bool {
        let snapshot = self.log.current();
        matches!(
            snapshot.relation(schema, name),
            Some(Relation::ExternalTable(table)) if table.definition == sql
        )
    }

    /// Carries out a change, and returns the version that shows it; it is ready here.
    pub(crate) async fn change(
        &self,
        change: Change,
        by: &SchedulerId,
    ) -> Result<CatalogVersion, QueryError> {
        let version = self
            .log
            .append(&statement(change)?, by)
            .await
            .map_err(error)?;
        self.catch_up().await?;
        Ok(version)
    }

    /// Makes the newest known version ready.
    async fn catch_up(&self) -> Result<(), QueryError> {
        let _making = self.making.lock().await;
        let snapshot = self.log.current();
        let previous = self.ready.borrow().clone();
        if previous.version() == snapshot.version() {
            return Ok(());
        }
        let (schemas, tables, views) = definitions(&snapshot)?;
        let catalog = Catalog::build(
            &self.engine,
            snapshot.version(),
            &schemas,
            &tables,
            &views,
            Some(&previous),
        )
        .await?;
        self.ready.send_replace(catalog);
        Ok(())
    }
}

type Definitions = (Vec<String>, Vec<TableDefinition>, Vec<ViewDefinition>);

fn definitions(snapshot: &CatalogSnapshot) -> Result<Definitions, QueryError> {
    let (mut schemas, mut tables, mut views) = (Vec::new(), Vec::new(), Vec::new());
    for (schema_name, schema) in snapshot.schemas() {
        schemas.push(schema_name.to_string());
        for (_, relation) in schema.relations() {
            match relation {
                Relation::ExternalTable(table) => tables.push(TableDefinition {
                    schema: table.schema.clone(),
                    name: table.name.clone(),
                    location: table.location.clone(),
                    format: table.format.to_string(),
                    options: table.options.clone(),
                    partition_columns: table.partition_columns.clone(),
                    sql: table.definition.clone(),
                    columns: schema_from_ipc(&table.arrow_schema)
                        .map_err(|e| paceline_plan::classify(&e))?,
                }),
                Relation::View(view) => views.push(ViewDefinition {
                    schema: view.schema.clone(),
                    name: view.name.clone(),
                    sql: view.sql.clone(),
                }),
            }
        }
    }
    Ok((schemas, tables, views))
}

fn error(error: CatalogError) -> QueryError {
    QueryError::new(error.class(), error.to_string())
}

fn statement(change: Change) -> Result<CatalogStatement, QueryError> {
    let missing = |if_exists| {
        if if_exists {
            OnMissing::Ignore
        } else {
            OnMissing::Refuse
        }
    };
    let existing = |keep, replace| match (keep, replace) {
        (_, true) => OnExisting::Replace,
        (true, false) => OnExisting::Keep,
        (false, false) => OnExisting::Refuse,
    };
    Ok(match change {
        Change::CreateSchema {
            name,
            if_not_exists,
        } => CatalogStatement::CreateSchema {
            name,
            existing: existing(if_not_exists, false),
        },
        Change::DropSchema {
            name,
            if_exists,
            cascade,
        } => CatalogStatement::DropSchema {
            name,
            missing: missing(if_exists),
            cascade,
        },
        Change::CreateTable {
            table,
            if_not_exists,
            or_replace,
        } => CatalogStatement::CreateExternalTable {
            table: external(table)?,
            existing: existing(if_not_exists, or_replace),
        },
        Change::DropTable {
            schema,
            name,
            if_exists,
        } => CatalogStatement::DropTable {
            schema,
            name,
            missing: missing(if_exists),
        },
        Change::CreateView { view, or_replace } => CatalogStatement::CreateView {
            view: View {
                schema: view.schema,
                name: view.name,
                sql: view.sql,
            },
            existing: existing(false, or_replace),
        },
        Change::DropView {
            schema,
            name,
            if_exists,
        } => CatalogStatement::DropView {
            schema,
            name,
            missing: missing(if_exists),
        },
    })
}

fn external(table: TableDefinition) -> Result<ExternalTable, QueryError> {
    let format: TableFormat = table
        .format
        .parse()
        .map_err(|e: paceline_model::InvalidId| QueryError::new(ErrorClass::User, e.to_string()))?;
    Ok(ExternalTable {
        arrow_schema: schema_to_ipc(&table.columns).into(),
        schema: table.schema,
        name: table.name,
        location: table.location,
        format,
        options: table.options,
        partition_columns: table.partition_columns,
        definition: table.sql,
    })
}
