//! Exchanges end to end: real stores, real files, real TCP.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod damage;
mod disk;
mod flow;
mod following;
mod support;
mod transport;
mod types;
