//! What a user asked for, and what that means for the catalog as it is.

use super::{
    CatalogChange, CatalogError, CatalogSnapshot, DEFAULT_SCHEMA, ExternalTable, ManagedTable,
    Relation, View,
};

/// What to do when the name is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnExisting {
    /// `CREATE`: an error.
    #[default]
    Refuse,
    /// `CREATE IF NOT EXISTS`: nothing.
    Keep,
    /// `CREATE OR REPLACE`: the new one takes its place.
    Replace,
}

/// What to do when there is nothing to drop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnMissing {
    /// `DROP`: an error.
    #[default]
    Refuse,
    /// `DROP IF EXISTS`: nothing.
    Ignore,
}

/// A statement that changes the catalog. Names are as the planner resolved them: schema and name,
/// in the case in which they are to be found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogStatement {
    /// `CREATE SCHEMA`. To replace a schema is not possible and means to keep it.
    CreateSchema {
        /// Its name.
        name: String,
        /// If there is one.
        existing: OnExisting,
    },
    /// `DROP SCHEMA`.
    DropSchema {
        /// Its name.
        name: String,
        /// If there is none.
        missing: OnMissing,
        /// Whether what is in it goes as well.
        cascade: bool,
    },
    /// `CREATE EXTERNAL TABLE`.
    CreateExternalTable {
        /// The table.
        table: ExternalTable,
        /// If the name is taken.
        existing: OnExisting,
    },
    /// `CREATE TABLE`, with columns and no rows.
    CreateTable {
        /// The table.
        table: ManagedTable,
        /// If the name is taken.
        existing: OnExisting,
    },
    /// `CREATE VIEW`.
    CreateView {
        /// The view.
        view: View,
        /// If the name is taken.
        existing: OnExisting,
    },
    /// `DROP TABLE`.
    DropTable {
        /// The schema it is in.
        schema: String,
        /// Its name.
        name: String,
        /// If there is none.
        missing: OnMissing,
    },
    /// `DROP VIEW`.
    DropView {
        /// The schema it is in.
        schema: String,
        /// Its name.
        name: String,
        /// If there is none.
        missing: OnMissing,
    },
}

impl CatalogStatement {
    /// The change that the statement makes to this version; `None` if it leaves it as it is.
    ///
    /// # Errors
    /// [`CatalogError`] if the statement cannot be carried out on this version.
    pub fn resolve(&self, on: &CatalogSnapshot) -> Result<Option<CatalogChange>, CatalogError> {
        match self {
            CatalogStatement::CreateSchema { name, existing } => create_schema(on, name, *existing),
            CatalogStatement::DropSchema {
                name,
                missing,
                cascade,
            } => drop_schema(on, name, *missing, *cascade),
            CatalogStatement::CreateExternalTable { table, existing } => {
                let free = may_create(on, &table.schema, &table.name, "table", *existing)?;
                let table = || table.clone();
                Ok(free.then(|| CatalogChange::CreateExternalTable { table: table() }))
            }
            CatalogStatement::CreateTable { table, existing } => {
                let free = may_create(on, &table.schema, &table.name, "table", *existing)?;
                Ok(free.then(|| CatalogChange::CreateTable {
                    table: table.clone(),
                    query: None,
                    files: vec![],
                }))
            }
            CatalogStatement::CreateView { view, existing } => {
                let free = may_create(on, &view.schema, &view.name, "view", *existing)?;
                Ok(free.then(|| CatalogChange::CreateView { view: view.clone() }))
            }
            CatalogStatement::DropTable {
                schema,
                name,
                missing,
            } => {
                let there = may_drop(on, schema, name, "table", *missing)?;
                let (schema, name) = (schema.clone(), name.clone());
                Ok(there.then_some(CatalogChange::DropTable { schema, name }))
            }
            CatalogStatement::DropView {
                schema,
                name,
                missing,
            } => {
                let there = may_drop(on, schema, name, "view", *missing)?;
                let (schema, name) = (schema.clone(), name.clone());
                Ok(there.then_some(CatalogChange::DropView { schema, name }))
            }
        }
    }
}

fn create_schema(
    on: &CatalogSnapshot,
    name: &str,
    existing: OnExisting,
) -> Result<Option<CatalogChange>, CatalogError> {
    check_name(name)?;
    if name == "information_schema" {
        return Err(CatalogError::Reserved {
            name: name.to_string(),
            done: "created",
            why: "it describes the catalog and is always there",
        });
    }
    match (on.schema(name), existing) {
        (None, _) => Ok(Some(CatalogChange::CreateSchema {
            name: name.to_string(),
        })),
        (Some(_), OnExisting::Refuse) => Err(CatalogError::AlreadyExists {
            what: "schema",
            name: name.to_string(),
        }),
        (Some(_), OnExisting::Keep | OnExisting::Replace) => Ok(None),
    }
}

fn drop_schema(
    on: &CatalogSnapshot,
    name: &str,
    missing: OnMissing,
    cascade: bool,
) -> Result<Option<CatalogChange>, CatalogError> {
    if name == DEFAULT_SCHEMA {
        return Err(CatalogError::Reserved {
            name: name.to_string(),
            done: "dropped",
            why: "it is the schema of names that say none",
        });
    }
    let Some(schema) = on.schema(name) else {
        return match missing {
            OnMissing::Ignore => Ok(None),
            OnMissing::Refuse => Err(no_schema(name)),
        };
    };
    if let (Some((first, _)), false) = (schema.relations().next(), cascade) {
        return Err(CatalogError::NotEmpty {
            schema: name.to_string(),
            count: schema.relations().len(),
            first: first.to_string(),
        });
    }
    Ok(Some(CatalogChange::DropSchema {
        name: name.to_string(),
    }))
}

/// Whether a relation of kind `what` is to be created under the name.
pub(super) fn may_create(
    on: &CatalogSnapshot,
    schema: &str,
    name: &str,
    what: &'static str,
    existing: OnExisting,
) -> Result<bool, CatalogError> {
    check_name(name)?;
    let there = on.schema(schema).ok_or_else(|| no_schema(schema))?;
    match (there.relation(name), existing) {
        (None, _) => Ok(true),
        (Some(relation), OnExisting::Refuse) => Err(CatalogError::AlreadyExists {
            what: relation.kind(),
            name: format!("{schema}.{name}"),
        }),
        (Some(_), OnExisting::Keep) => Ok(false),
        (Some(relation), OnExisting::Replace) => of_kind(relation, schema, name, what),
    }
}

/// Whether a relation of kind `what` is to be dropped under the name.
fn may_drop(
    on: &CatalogSnapshot,
    schema: &str,
    name: &str,
    what: &'static str,
    missing: OnMissing,
) -> Result<bool, CatalogError> {
    match (on.relation(schema, name), missing) {
        (Some(relation), _) => of_kind(relation, schema, name, what),
        (None, OnMissing::Ignore) => Ok(false),
        (None, OnMissing::Refuse) => Err(CatalogError::NotFound {
            what,
            name: format!("{schema}.{name}"),
        }),
    }
}

fn of_kind(
    relation: &Relation,
    schema: &str,
    name: &str,
    wanted: &'static str,
) -> Result<bool, CatalogError> {
    if relation.kind() == wanted {
        return Ok(true);
    }
    Err(CatalogError::WrongKind {
        name: format!("{schema}.{name}"),
        is: relation.kind(),
        wanted,
    })
}

fn check_name(name: &str) -> Result<(), CatalogError> {
    if name.is_empty() {
        return Err(CatalogError::Reserved {
            name: String::new(),
            done: "created",
            why: "a name needs at least one character",
        });
    }
    Ok(())
}

fn no_schema(name: &str) -> CatalogError {
    CatalogError::NotFound {
        what: "schema",
        name: name.to_string(),
    }
}
