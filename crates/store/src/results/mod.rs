//! Results of submitted queries, kept until their time is over.
//!
//! ```text
//!   {root}/results/{query}/{epoch}/{part}    rows, as whoever wrote them encodes them
//!   {root}/results/{query}/{epoch}/index     ResultIndex   which parts count, in which order
//! ```
//!
//! A [`ResultWriter`] creates the parts as they come and the index last: the index is the commit, and
//! a part that no index names does not exist for any reader. Parts lie below the epoch of the owner
//! that wrote them, so that two owners never mix, and several may write at a time; which one's
//! result counts is said by the query's one outcome ([`Ending::result`](crate::Ending), as a
//! [`ResultManifest`]).
//!
//! Nothing here knows what is in a part.

mod error;
mod index;
mod reader;
mod store;
mod writer;

pub use error::ResultError;
pub use index::{ResultIndex, ResultManifest, ResultPart};
pub use reader::ResultReader;
pub use store::Results;
pub use writer::ResultWriter;
