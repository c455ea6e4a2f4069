//! Schedulers and executors in one process, over real connections.

mod catalog;
mod lists;
mod queries;
mod support;
