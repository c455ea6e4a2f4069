//! The decisions of a scheduler, without their effects.
//!
//! [`Core`] drives the queries that one scheduler owns: which tasks a stage is divided into, where
//! each runs, what is run again when something is lost, and when a query is over. It is told of the
//! world in [`Event`]s and answers with [`Action`]s; a shell around it moves the messages.
//!
//! ```text
//!          reports, lost executors, clients, time
//!                       │ Event
//!                       ▼
//!   ┌──────────────── Core ────────────────┐
//!   │ admission ─► queries ─► placement    │
//!   │                ▲            ▲        │
//!   │  recovery ─────┘        executors    │
//!   └───────────────────┬──────────────────┘
//!                       │ Action
//!                       ▼
//!      launches, cancels, releases, outcomes
//! ```
//!
//! This crate owns the life of queries, placement and admission. It has no I/O, no clock, no async
//! and no randomness, and refuses to get any: equal events at equal times lead to equal actions, so
//! that a simulator can replay any run.
//!
//! What holds at all times is written down in `invariants.rs` and checked by
//! [`Core::violations`]:
//!
//! - every query submitted or adopted is settled exactly once;
//! - one attempt of a task counts at a time, and all readers of a task read the same attempt;
//! - a task is launched only when every output it reads exists;
//! - what nobody will read is released, and an ended query is ended everywhere.
//!
//! Nothing here trusts what comes from outside: reports and inventories that are late, doubled, out
//! of order or made up change nothing that they should not.
//!
//! Entry types: [`Core`], [`Event`], [`Action`], [`Options`], [`Now`]; [`ownership`] decides who owns a
//! query in the first place.

mod action;
mod admission;
mod cluster;
mod counters;
mod dispatch;
mod driver;
mod event;
mod executors;
mod invariants;
mod options;
mod outbox;
pub mod ownership;
mod placement;
mod query;
mod shared;
mod time;
mod timers;

pub use action::{Action, Outcome, StageOutputs, TaskLaunch};
pub use counters::Counters;
pub use driver::Core;
pub use event::{AttemptRef, AttemptState, Event, HeldQuery, KnownOutput, KnownStage, KnownTask};
pub use executors::ExecutorStatus;
pub use options::Options;
pub use time::Now;
