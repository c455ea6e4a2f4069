//! Why a scheduler does not start.

use std::net::SocketAddr;

use paceline_model::QueryError;
use paceline_store::{CatalogError, ClusterError, LocationError, ProbeError, StoreError};

/// Why a scheduler does not start; each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be listened on.
    #[error("cannot listen for {purpose} on {address}: {source}; give it another address")]
    Listen {
        /// What the port is for.
        purpose: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Wildcard addresses were bound and no host was named.
    #[error(
        "{address} tells others no address to reach this scheduler at: name its host as the \
         advertised one"
    )]
    Advertise {
        /// The address bound.
        address: SocketAddr,
    },
    /// The state location makes no sense.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The place for the files of tables makes no sense.
    #[error(
        "'{location}' cannot be the data location: {reason}; write a directory, file:///…, \
         s3://bucket/prefix, gs://… or az://…"
    )]
    DataLocation {
        /// What was given.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The state location cannot be relied on.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The state there is not this version's.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The catalog cannot be read.
    #[error("cannot read the catalog: {0}")]
    Catalog(#[from] CatalogError),
    /// The scheduler cannot make itself known.
    #[error("cannot write the beacon: {0}")]
    Beacon(#[from] StoreError),
    /// The engine cannot be set up.
    #[error("cannot set up the engine: {0}")]
    Engine(QueryError),
    /// A table of the configuration cannot be made.
    #[error("cannot create the configured table '{name}': {error}")]
    Table {
        /// Its name.
        name: String,
        /// Why.
        error: QueryError,
    },
    /// A metric is registered already: two schedulers were given one registry.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}
