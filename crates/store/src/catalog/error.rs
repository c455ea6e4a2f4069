//! Why a change to the catalog did not happen.

use paceline_model::{CatalogVersion, ErrorClass};

use crate::StoreError;

/// A statement that changes the catalog and could not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The name is taken.
    #[error("{what} '{name}' already exists")]
    AlreadyExists {
        /// "schema", "table" or "view": what has the name.
        what: &'static str,
        /// The name, with its schema.
        name: String,
    },
    /// The thing named does not exist.
    #[error("{what} '{name}' does not exist")]
    NotFound {
        /// "schema", "table" or "view": what was looked for.
        what: &'static str,
        /// The name, with its schema.
        name: String,
    },
    /// The name belongs to something of another kind.
    #[error("'{name}' is a {is}, not a {wanted}; use DROP {} instead", is.to_uppercase())]
    WrongKind {
        /// The name, with its schema.
        name: String,
        /// What it is.
        is: &'static str,
        /// What the statement took it for.
        wanted: &'static str,
    },
    /// A schema that still holds relations was to be dropped without `CASCADE`.
    #[error(
        "schema '{schema}' still holds {count} tables and views ('{first}' is one); drop them first or add CASCADE"
    )]
    NotEmpty {
        /// The schema.
        schema: String,
        /// How many relations are in it.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// The table that rows were written for is not there any more.
    #[error(
        "table '{name}' was dropped or replaced while rows were written for it: nothing was inserted"
    )]
    Gone {
        /// The name, with its schema.
        name: String,
    },
    /// A name that nobody may create or drop.
    #[error("'{name}' cannot be {done}: {why}")]
    Reserved {
        /// The name.
        name: String,
        /// "created" or "dropped".
        done: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// Others changed the catalog each time this change was about to be made.
    #[error("the catalog changed {tries} times while this change was being made; try again")]
    Contended {
        /// How often it was tried.
        tries: u32,
    },
    /// So many changes were made under names meanwhile that it is not known whether this one was.
    #[error(
        "the catalog changed thousands of times while this change was being made, and may have been changed so under its name: look before you send it again"
    )]
    Forgotten,
    /// A version that should be in the log is not.
    #[error(
        "version {version} of the catalog cannot be found at {location}; if something removed it, restore it, for what came after cannot be understood without it"
    )]
    Missing {
        /// The state location.
        location: String,
        /// The version.
        version: CatalogVersion,
    },
    /// The state store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CatalogError {
    /// What the failure means for the statement that met it.
    pub fn class(&self) -> ErrorClass {
        match self {
            CatalogError::AlreadyExists { .. }
            | CatalogError::NotFound { .. }
            | CatalogError::WrongKind { .. }
            | CatalogError::NotEmpty { .. }
            | CatalogError::Gone { .. }
            | CatalogError::Reserved { .. } => ErrorClass::User,
            CatalogError::Contended { .. }
            | CatalogError::Forgotten
            | CatalogError::Missing { .. } => ErrorClass::Unavailable,
            CatalogError::Store(error) => error.class(),
        }
    }
}
