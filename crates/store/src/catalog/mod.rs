//! The catalog: a create-only log of changes, and the snapshots that they add up to.
//!
//! ```text
//!   CatalogStatement ── resolve against a snapshot ──► CatalogChange ── create {root}/catalog/{n+1}
//!      IF EXISTS, OR REPLACE, CASCADE                    what happens          │ won      │ exists
//!                                                                             ▼          ▼
//!                                                   CatalogSnapshot n+1 ◄── apply   take in what is
//!                                                                                   there; resolve again
//! ```

mod change;
mod decisions;
mod entry;
mod error;
mod log;
mod names;
mod snapshot;
mod statement;
mod table;
mod write;

pub use change::{CatalogChange, ChangeName, ExternalTable, TableFormat, View};
pub use error::CatalogError;
pub use log::CatalogLog;
pub use snapshot::{CatalogSnapshot, DEFAULT_SCHEMA, Relation, Schema};
pub use statement::{CatalogStatement, OnExisting, OnMissing};
pub use table::{DataFile, ManagedTable, StoredTable, Written};
pub use write::{Decided, WriteTarget};
