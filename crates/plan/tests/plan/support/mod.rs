//! A cluster without processes: tasks of a stage graph, their exchanges in memory.

mod cluster;
mod exchanges;
mod fixture;
mod order;
mod session;

pub(crate) use cluster::describe;
pub(crate) use fixture::fixture;
pub(crate) use order::order_of;
pub(crate) use session::{SLOTS, Session, settings};
