//! Why an executor could not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use paceline_exchange::StoreError;
use paceline_model::QueryError;

/// Why an executor could not start. Once started it does not fail as a whole.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An option cannot be right.
    #[error("executor option '{option}' {problem}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The data plane's address could not be taken.
    #[error("cannot listen on {address}: {source}; choose another address or stop what uses it")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The directory for outputs and spills cannot be used.
    #[error("cannot use the directory {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Threads could not be started.
    #[error("cannot start the {runtime} threads: {source}")]
    Threads {
        /// Which ones.
        runtime: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The output store could not be opened.
    #[error("cannot open the output store: {0}")]
    Store(#[from] StoreError),
    /// The engine could not be set up.
    #[error("cannot set up the engine: {0}")]
    Engine(#[from] QueryError),
    /// The registry has these metrics already: each executor of a process needs its own.
    #[error("cannot register metrics: {0}; give each executor of a process its own registry")]
    Metrics(#[from] prometheus::Error),
}
