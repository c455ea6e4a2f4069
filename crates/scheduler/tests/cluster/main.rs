//! Schedulers and executors in one process, over real connections.

mod catalog;
mod commits;
mod garbage;
mod inherited;
mod lists;
mod queries;
mod slow_store;
mod support;
