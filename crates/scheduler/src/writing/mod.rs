//! Statements that write: executors write files aside, and one create in the catalog log makes them
//! count.
//!
//! ```text
//!   accepted: journal, claim ──► tasks write files ──► list of files ──► one entry in the catalog log
//!                                                                              │
//!      leftovers are removed ◄── the client is told ◄── one outcome ◄──────────┘
//! ```
//!
//! Whoever owns the query goes through this from wherever it finds it. The entry and the outcome are
//! each made once, whoever tries: see [`paceline_store::CatalogLog::commit`].

mod accept;
mod decide;
mod leftovers;
mod place;
mod target;
mod told;
mod wire;

pub(crate) use decide::{decide, finish};
pub(crate) use leftovers::{remove_leftovers, sweep_leftovers};
pub(crate) use place::data_location;
pub(crate) use target::{existing, managed, managed_of};
pub(crate) use told::{is_write, note_write, rows_in};
pub(crate) use wire::{from_wire, place_of, to_wire};
