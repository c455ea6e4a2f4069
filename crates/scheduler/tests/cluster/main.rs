//! Schedulers and executors in one process, over real connections.

mod catalog;
mod commits;
mod garbage;
mod lists;
mod queries;
mod slow_store;
mod support;
