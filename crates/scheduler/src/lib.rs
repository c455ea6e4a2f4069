//! The shell around the core: one scheduler process's dealings with executors, peers and clients.
//!
//! ```text
//!   frontend (Flight SQL, HTTP)
//!        │ QueryService                       state store
//!   ┌────▼─────┐  plan   ┌─────────┐            ▲
//!   │ service  ├────────►│ catalog ├────────────┤
//!   └────┬─────┘         └─────────┘            │
//!        │ Event     ┌──────┐  Action       ┌───┴─────┐
//!        └──────────►│ core ├──────┐        │ members │──► peers
//!        ┌──────────►└──────┘      ▼        └─────────┘
//!   ┌────┴─────┐               ┌───────┐
//!   │  attach  │◄──────────────┤ links ├──► executors
//!   └──────────┘               └───────┘
//! ```
//!
//! Beside that path, `scribe` writes down what the queries of this scheduler need to be carried on,
//! and `takeover` carries on those of others: see there.
//!
//! It owns connections, the records of queries while somebody may ask for them, and the clock. It
//! decides nothing about tasks: every decision is the core's, taken under one lock and carried out
//! before the lock is given back, so that executors hear commands in the order in which they were
//! decided. Nothing is awaited while the lock is held, and nothing on the path of a query sleeps.
//!
//! Entry types: [`Scheduler`], [`SchedulerOptions`], [`StartError`].

mod afresh;
mod agreement;
mod answering;
mod attach;
mod beating;
mod cancelling;
mod catalog;
mod changing;
mod conclusion;
mod driver;
mod duties;
mod elsewhere;
mod endings;
mod enqueued;
mod entrance;
mod error;
mod expiry;
mod finding;
mod garbage;
mod gone;
mod handover;
mod identity;
mod journaling;
mod keyed;
mod leaving;
mod lending;
mod links;
mod listing;
mod members;
mod metrics;
mod moment;
mod news;
mod operators;
mod options;
mod passing;
mod peers;
mod record;
mod replay;
mod requested;
mod results;
mod scheduler;
mod scribe;
mod service;
mod settings;
mod shared;
mod shelf;
mod start;
mod steps;
mod takeover;
mod telling;
#[cfg(test)]
mod testing;
mod turns;
mod violations;
mod watching;
mod wire;
mod writing;
mod written;

pub use error::StartError;
pub use options::{ConfiguredTable, SchedulerOptions};
pub use scheduler::Scheduler;
