//! Executors as schedulers see them: over the real protocol, with real plans over real files.

mod chaos;
mod common;
mod ownership;
mod queries;
mod tasks;
