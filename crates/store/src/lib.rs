//! The shared state of a cluster, and the only crate that knows the object store.
//!
//! ```text
//!   {root}/cluster              ClusterIdentity   created once
//!   {root}/catalog/{version}    CatalogLog        create-only, versions without gaps
//!   {root}/members/{scheduler}  Members           beacons, rewritten by their own scheduler
//!   {root}/journal/{scheduler}  Journal           segments, create-only; see the module `journal`
//!   {root}/owners, queries      Claims            who adopted what, how it ended; see also `Outcomes`
//!   {root}/results/{query}      Results           durable results; see the module `results`
//!   {root}/probe/…              probe             scratch, removed again
//!        │
//!   StateStore      create (won, exists, or an error that says it is unknown), get, list, put, delete
//!        │
//!   object_store    a local directory, S3, GCS, Azure, memory
//! ```
//!
//! **Owns**: what a state location may be, the client with its short limits, the one conditional
//! write (create if absent) with its three outcomes, the formats of all records of shared state.
//!
//! **Refuses**: a store that lets two creates of one key win ([`probe()`]), state of another format
//! ([`ClusterIdentity`]), locks, leases and any comparison of clocks. Nothing here decides what a
//! record means for a running query.
//!
//! **Invariants**
//! - A key that was created is never changed and never created again; [`StateStore::put`] is for
//!   beacons alone, which nobody's correctness rests on.
//! - Memory follows only what was won: [`CatalogLog::current`] holds no change that another
//!   process could not read.
//! - No secret is printed, by an error or by `Debug`.
//!
//! Entry types: [`StateLocation`] → [`StateStore`] → [`probe()`], [`ClusterIdentity`],
//! [`CatalogLog`], [`Members`] and [`Liveness`], [`Journal`], [`Journals`] and [`Claims`],
//! [`Results`], [`Garbage`].

mod base64_text;
mod catalog;
mod cluster;
mod connect;
mod create;
mod directory;
mod error;
mod frame;
mod garbage;
mod journal;
mod key;
mod listing;
mod location;
mod members;
mod metrics;
mod outcomes;
mod probe;
mod record;
mod request;
mod results;
mod scrub;
mod staged;
mod state;

pub use catalog::{
    CatalogChange, CatalogError, CatalogLog, CatalogSnapshot, CatalogStatement, ChangeName,
    DEFAULT_SCHEMA, DataFile, Decided, ExternalTable, ManagedTable, OnExisting, OnMissing,
    Relation, Schema, StoredTable, TableFormat, View, WriteTarget, Written,
};
pub use cluster::{ClusterError, ClusterIdentity};
pub use create::Created;
pub use error::StoreError;
pub use garbage::{Garbage, GarbageError, Swept};
pub use journal::{
    AppendError, Book, Claims, Deferred, Ending, Grown, Held, Journal, JournalEnd, JournalError,
    JournalMetrics, JournalOptions, Journals, Replayed, entries_of,
};
pub use key::Key;
pub use location::{LocationError, StateLocation};
pub use members::{Addresses, Beacon, Liveness, Members, Roster, Verdict};
pub use metrics::StoreMetrics;
pub use outcomes::Outcomes;
pub use probe::{ProbeError, probe};
pub use request::Limits;
pub use results::{
    ResultError, ResultIndex, ResultManifest, ResultPart, ResultReader, ResultWriter, Results,
};
pub use state::StateStore;
