//! Who is there: beacons in the store, and how an observer judges them.

mod beacon;
mod liveness;

pub use beacon::{Addresses, Beacon, Members, Roster};
pub use liveness::{Liveness, Verdict};
