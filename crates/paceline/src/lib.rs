//! The binaries: wiring, configuration, signals, and the commands that people type.
//!
//! ```text
//!   paceline-scheduler ─┐                ┌─ serve    scheduler, executor or both, until a signal
//!   paceline-executor ──┤                ├─ command  sql, status, queries, cancel, config
//!   paceline ───────────┴─► cli ─────────┼─ demo     a cluster of child processes and TPC-H
//!                            │           └─ client   Flight SQL and HTTP, as clients see them
//!                            └─ config: defaults < file < environment < flags
//! ```
//!
//! There is one executable. `paceline-scheduler` and `paceline-executor` give their place to it;
//! it also answers to their names itself, as links to it. Only here are arguments, the environment
//! and signals read; the crates of the servers are told everything through their options.
//!
//! Entry point: [`run`]. [`client`] serves the tests as well, and [`config`] those of the manual.

mod cli;
pub mod client;
mod command;
pub mod config;
mod demo;
mod failure;
mod serve;

pub use cli::run;
pub use config::markdown;
pub use failure::Failure;
