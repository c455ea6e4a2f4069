//! Schedulers and executors in one process, over real connections.

mod catalog;
mod queries;
mod support;
