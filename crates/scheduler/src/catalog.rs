//! The catalog that statements are planned with, and how it changes.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use paceline_model::{CatalogVersion, ErrorClass, Invariant, QueryError, QueryId, SchedulerId};
use paceline_plan::{
    Catalog, Change, Definitions, Engine, SessionSettings, TableDefinition, ViewDefinition,
    schema_from_ipc, schema_to_ipc,
};
use paceline_store::{
    CatalogError, CatalogLog, CatalogSnapshot, CatalogStatement, ChangeName, DataFile, Decided,
    ExternalTable, OnMissing, Relation, TableFormat, View, WriteTarget,
};
use tokio::sync::{Mutex, watch};

use crate::violations::Violations;
use crate::writing::{existing, managed, managed_of};

/// The newest version that is ready to plan with.
#[derive(Debug)]
pub(crate) struct Catalogs {
    engine: Engine,
    log: CatalogLog,
    ready: watch::Sender<Catalog>,
    /// What was made ready last. Held while another version is.
    making: Mutex<CatalogSnapshot>,
    /// How often a peer may have failed to tell of a version.
    doubts: AtomicU64,
    /// How many of those have been looked after.
    settled: AtomicU64,
    violations: Violations,
}

impl Catalogs {
    pub(crate) async fn open(
        engine: Engine,
        log: CatalogLog,
        violations: Violations,
    ) -> Result<Self, QueryError> {
        let empty = Catalog::empty(&engine).await?;
        let catalogs = Catalogs {
            engine,
            log,
            ready: watch::Sender::new(empty),
            making: Mutex::new(CatalogSnapshot::default()),
            doubts: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            violations,
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

    /// Carries out a change, once if it has a name, and returns a version that shows it; it is ready
    /// here. With the name goes a version up to which nothing was carried out under it.
    pub(crate) async fn change(
        &self,
        change: Change,
        by: &SchedulerId,
        name: Option<(&ChangeName, CatalogVersion)>,
    ) -> Result<CatalogVersion, QueryError> {
        let statement = statement(change)?;
        let appended = self.log.append_once(&statement, by, name).await;
        let version = appended.map_err(error)?;
        self.catch_up().await?;
        Ok(version)
    }

    /// Makes what a query wrote visible, unless that is decided already; what is decided is ready here.
    pub(crate) async fn commit(
        &self,
        query: QueryId,
        target: &WriteTarget,
        files: &[DataFile],
        since: CatalogVersion,
        by: &SchedulerId,
    ) -> Result<Decided, QueryError> {
        let decided = self.log.commit(query, target, files, since, by).await;
        let decided = decided.map_err(error)?;
        self.catch_up().await?;
        Ok(decided)
    }

    /// Decides that a query wrote nothing, unless that is decided already.
    pub(crate) async fn abandon(
        &self,
        query: QueryId,
        since: CatalogVersion,
        by: &SchedulerId,
    ) -> Result<Decided, QueryError> {
        let decided = self.log.abandon(query, since, by).await.map_err(error)?;
        self.catch_up().await?;
        Ok(decided)
    }

    /// The newest version that is known here.
    pub(crate) fn known(&self) -> CatalogSnapshot {
        self.log.current()
    }

    /// What the log holds at this moment.
    pub(crate) async fn snapshot(&self) -> Result<CatalogSnapshot, QueryError> {
        self.log.refresh_tail().await.map_err(error)
    }

    /// Makes the newest known version ready.
    async fn catch_up(&self) -> Result<(), QueryError> {
        let mut made = self.making.lock().await;
        let snapshot = self.log.current();
        let previous = self.ready.borrow().clone();
        if previous.version() == snapshot.version() {
            return Ok(());
        }
        let definitions = definitions(&snapshot)?;
        let (version, previous) = (snapshot.version(), Some(&previous));
        let catalog = Catalog::of(&self.engine, version, &definitions, previous).await?;
        self.ready.send_replace(catalog);
        let known = made.repeated_writes();
        for query in snapshot.repeated_writes().difference(known) {
            let seen = format!("the log of the catalog has a second write of query {query}");
            self.violations.count(Invariant::ExactlyOnce, &seen);
        }
        *made = snapshot;
        Ok(())
    }
}

fn definitions(snapshot: &CatalogSnapshot) -> Result<Definitions, QueryError> {
    let mut all = Definitions::default();
    for (schema_name, schema) in snapshot.schemas() {
        all.schemas.push(schema_name.to_string());
        for (_, relation) in schema.relations() {
            match relation {
                Relation::ExternalTable(table) => all.tables.push(TableDefinition {
                    schema: table.schema.clone(),
                    name: table.name.clone(),
                    location: table.location.clone(),
                    format: table.format.to_string(),
                    options: table.options.clone(),
                    partition_columns: table.partition_columns.clone(),
                    sql: table.definition.clone(),
                    settings: SessionSettings(table.settings.clone()),
                    columns: schema_from_ipc(&table.arrow_schema)
                        .map_err(|e| paceline_plan::classify(&e))?,
                }),
                Relation::Table(table) => all.managed.push(managed_of(table)?),
                Relation::View(view) => all.views.push(ViewDefinition {
                    schema: view.schema.clone(),
                    name: view.name.clone(),
                    sql: view.sql.clone(),
                    settings: SessionSettings(view.settings.clone()),
                }),
            }
        }
    }
    Ok(all)
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
        Change::CreateManaged {
            table,
            if_not_exists,
            or_replace,
        } => CatalogStatement::CreateTable {
            table: managed(&table),
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
                settings: view.settings.0,
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
        settings: table.settings.0,
    })
}
