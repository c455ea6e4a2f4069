//! A cluster without processes: tasks of a stage graph, their exchanges in memory.

mod cluster;
mod exchanges;
mod fixture;
mod session;
mod stack;

pub(crate) use cluster::describe;
pub(crate) use fixture::fixture;
pub(crate) use session::{SLOTS, Session, settings};
pub(crate) use stack::with_serving_stack;
