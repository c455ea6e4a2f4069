//! Tasks: one attempt from its launch to its final state.
//!
//! ```text
//!  wait for slots ─► decode plan ─► narrow to the task's partitions ─► run them all at once
//!                                                                        │ batches
//!                     final state ◄─ finish: commit the output  ◄─ divide and write
//! ```
//!
//! Everything here runs on the query threads. Whatever goes wrong, panics included, ends in exactly
//! one state: finished, failed or cancelled; slots and memory are free before it is told.

mod inline;
mod outcome;
mod output;
mod run;
mod source;
mod work;

pub(crate) use work::{Work, attempt};
