//! The outputs that this process holds.

mod budget;
mod commit;
mod disk;
mod home;
mod manifest;
mod output;
mod registry;
mod spill;
mod target;
mod writer;

pub(crate) use budget::{Account, Charge};
pub(crate) use disk::OpenFile;
pub(crate) use output::{Lookup, Output, Slot};
pub(crate) use registry::Unreadable;
pub use registry::{OutputStore, StoreUsage};
pub use writer::OutputWriter;
