//! The messages on the wire, and their conversions to and from the model.
//!
//! Messages are compiled from `proto/` at build time. Code elsewhere holds the model's types and
//! meets the generated ones only where it sends or receives; every conversion that can fail does
//! so with [`Malformed`], which names the field.

mod convert;
mod graph;

pub use convert::{
    Malformed, OutputTable, attempt_ref, error_to_failed, failed_to_error, output_locations,
    partition_range, query_bytes, query_id,
};
pub use graph::{graph_from_wire, graph_to_wire};

/// Bumped whenever two sides of different numbers could misunderstand each other; checked at
/// attach.
pub const PROTOCOL: u32 = 3;

/// The largest message of the control plane. Plans and inventories may be large; this only bounds what a
/// broken peer can make a process hold.
pub const MESSAGE_LIMIT: usize = 256 << 20;

/// The control plane: executors attach to schedulers, schedulers talk to each other.
pub mod cluster {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    tonic::include_proto!("paceline.cluster.v1");
}

/// The data plane: what travels inside Arrow Flight streams between executors.
pub mod exchange {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    tonic::include_proto!("paceline.exchange.v1");
}

/// The state in the object store: what schedulers write into their journals.
pub mod state {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    tonic::include_proto!("paceline.state.v1");
}
