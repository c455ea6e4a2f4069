//! Frames: the unit in which rows are kept, moved and checked.
//!
//! A frame is one Arrow IPC record batch message with its body, preceded by a message for each
//! dictionary that it uses; so each frame can be read by itself, given the schema. About 8,192 rows
//! or 1 MiB make one, whichever comes first.

mod checksum;
mod coalesce;
mod codec;
mod compact;
mod measure;

pub(crate) use checksum::is_damaged;
pub(crate) use coalesce::{Pending, Piece, split};
pub(crate) use codec::{Encoded, FrameCodec, Packing, with_schema};
pub(crate) use compact::compact;
pub use compact::trimmed;
pub(crate) use measure::{Allocations, overhead, used};

/// Rows that complete a frame.
pub(crate) const FRAME_ROWS: usize = 8192;

/// Bytes, uncompressed, that complete a frame.
pub(crate) const FRAME_BYTES: u64 = 1 << 20;
