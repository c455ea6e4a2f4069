//! Reading what other stages left.

mod budget;
mod fault;
mod input;
mod lane;
mod link;
mod local;
mod peers;
mod route;
mod sequence;

pub use input::{InputReader, ReadBytes, StageOutputs, Which};
pub use peers::{InvalidAddress, PeerOptions, Peers};
