//! Journals: what each scheduler drives, written so that any other can carry it on.
//!
//! ```text
//!   {root}/journal/{scheduler}/{seq}       Segment   records of one commit; the last may be a seal
//!   {root}/journal/{scheduler}/drained     Marker    nothing in it matters any more
//!   {root}/journal/{scheduler}/void        Marker    which of its segments were given up: nobody can read them
//!   {root}/owners/{query}/{epoch}          Claims    who adopted it
//!   {root}/queries/{query}/submitted       Claims    who drives a submitted statement
//!   {root}/queries/{query}/finished        Claims    its one outcome
//! ```
//!
//! What to do is decided by [`paceline_core::ownership`]; this is the I/O around it. A [`Journal`]
//! appends to one's own; [`Journals`] replays, seals, drains and removes anybody's; [`Claims`] makes
//! the creates that decide between adopters.

mod book;
mod claims;
mod error;
mod metrics;
mod reading;
mod replay;
mod salvage;
mod sealing;
mod segment;
mod writer;

pub use book::{Book, Held};
pub use claims::{Claims, Ending};
pub use error::{AppendError, JournalError};
pub use metrics::JournalMetrics;
pub use replay::{Journals, Replayed};
pub use segment::entries_of;
pub use writer::{Deferred, Grown, Journal, JournalEnd, JournalOptions};
