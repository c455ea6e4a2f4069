//! The executor: runs tasks, keeps their outputs, answers to every scheduler.
//!
//! ```text
//!                 network threads                          query threads (one per slot)
//!  scheduler A ◄═ attach stream ═╗
//!  scheduler B ◄═ attach stream ═╬═ book ── launch ──► slots ──► attempt: plan ─► output
//!  scheduler C ◄═ attach stream ═╝    ▲                             │               │
//!                                     └──────── final state ────────┘               ▼
//!  other executors ◄═ data plane ═════════════════════════════════════════════ output store
//! ```
//!
//! It owns the attach streams, slots, the memory of operators, and the life of each attempt. It
//! decides nothing about a query: not what runs where, nor whether something is tried again. It
//! never talks to the state store, and never waits for a scheduler: while none is attached, tasks
//! run on and what they have to say waits.
//!
//! What holds at all times:
//!
//! - Of a query, only the commands of the highest epoch seen take effect.
//! - Every accepted attempt ends in exactly one of finished, failed, cancelled; that is told to the
//!   query's owner, whoever it is by then, until it is acknowledged.
//! - Slots, memory and files of an attempt are free before its end is told.
//! - What nobody has owned for a while is dropped. What an ended query left is dropped at once.
//! - No message, plan, file or panic ends the process.
//!
//! Entry types: [`Executor`], [`ExecutorOptions`], [`StartError`], [`ExecutorStatus`].

mod attach;
mod book;
mod command;
mod drain;
mod error;
mod executor;
mod launch;
mod metrics;
mod node;
mod options;
mod runtimes;
mod serve;
mod slots;
mod task;

pub use error::StartError;
pub use executor::{Executor, ExecutorStatus};
pub use node::Phase;
pub use options::ExecutorOptions;
pub use paceline_exchange::Compression;
