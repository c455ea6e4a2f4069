//! Clusters of real processes.

mod child;
mod cluster;
mod doors;
mod error;
mod hosts;
mod memory;
mod plan;

pub use child::{Announced, Process};
pub use cluster::{Cluster, Links, Node};
pub use doors::Doors;
pub use error::{ClusterError, ProcessError};
pub use memory::peak_memory;
pub use plan::{ClusterPlan, Role};
