//! Exchanges: what one stage of a query leaves for the next.
//!
//! ```text
//!    task attempt                      this process                         another process
//!  ┌──────────────┐   ┌─────────────────────────────────────┐        ┌─────────────────────────┐
//!  │ OutputWriter ├──►│ OutputStore                         │        │ InputReader             │
//!  └──────────────┘   │  memory ──► runs ──► one file       │        │  partition 0 ◄─ lane ◄┐ │
//!  ┌──────────────┐   │        (partition by partition)     │ credit │  partition 1 ◄─ lane ◄┤ │
//!  │ InputReader  │◄──┤                         ┌───────────┤◄───────┤               credits │ │
//!  └──────────────┘   │                         │ DataPlane ├───────►├─── one stream ────────┘ │
//!     no copy         └─────────────────────────┴───────────┘ frames └─────────────────────────┘
//! ```
//!
//! This crate owns the outputs of an executor's attempts, the files they spill to, and the streams
//! by which other processes read them. It knows no plans, no scheduling and no SQL: it is given
//! batches with the partition that they, or each of their rows, belong to, and gives them back in a
//! fixed order. It retries nothing but one broken connection; what cannot be read is reported as
//! lost, by name, and made again by those who can.
//!
//! Terms: an **output** belongs to one attempt and has a range of partitions; a partition is a list
//! of **frames** (about 8,192 rows or 1 MiB each, an Arrow IPC message with its body; dictionaries
//! travel within the frame that uses them); a **run** is what was written to disk because memory was
//! used up; a **lane** is one partition within a stream between two processes.
//!
//! What holds:
//! - An output is whole or not there. One that is still being written can be followed, by those who
//!   ask for it, and is lost to them if its attempt does not finish.
//! - A writer never waits for a reader.
//! - Outputs in memory are never more than the limit, but for what attempts that write may buffer;
//!   beside them lies what is gathered before it is divided, 2 MiB or a batch for each writer.
//! - A lane that nobody reads holds no other up: each has credit of its own, and the receiving side
//!   always takes what arrives.
//! - A partition is read holder by holder, beginning with another one for each partition, and from a
//!   holder in the order of its outputs and of their frames; a whole exchange output by output,
//!   partition by partition. Neither depends on time, nor on who reads.
//! - Every frame that left memory is checked against the checksum that it was given when it was
//!   encoded, by whoever decodes it.
//! - Released is gone: memory and files at once, and readers are told.
//!
//! Entry types: [`OutputStore`], [`Divider`] and [`OutputWriter`], [`InputReader`] with [`Peers`],
//! [`DataPlane`].

mod divide;
mod error;
mod frame;
mod metrics;
mod options;
mod read;
mod serve;
mod store;

pub use divide::{Divided, Divider};
pub use error::{LostReason, ReadError, StoreError};
pub use frame::trimmed;
pub use metrics::ExchangeMetrics;
pub use options::{Compression, StoreOptions, UnknownCompression};
pub use read::{InputReader, InvalidAddress, PeerOptions, Peers, ReadBytes, StageOutputs, Which};
pub use serve::DataPlane;
pub use store::{OutputStore, OutputWriter, StoreUsage};

/// The largest frame that can be sent: a single row may be so large.
const MOST_FRAME_BYTES: usize = 1 << 30;
