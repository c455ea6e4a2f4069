//! One test for each rule by which queries live.

mod admission;
mod bench;
mod failures;
mod inventory;
mod launching;
mod lifecycle;
mod losses;
#[path = "../support/mod.rs"]
mod support;
