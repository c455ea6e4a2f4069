//! The data plane: other processes read the outputs of this one.

mod lanes;
mod plane;
mod session;

pub use plane::DataPlane;
