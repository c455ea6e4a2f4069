use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// A process did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It ended before it said where it listens.
    #[error("{name} ended at its start ({status}); the last lines of {log}:\n{tail}")]
    EndedAtStart {
        /// Which process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Where its log is.
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },
    /// The line in which it should say where it listens says something else.
    #[error("{name} wrote '{line}' instead of the line that says where it listens")]
    Unintelligible {
        /// Which process.
        name: String,
        /// What it wrote.
        line: String,
    },
    /// It took too long.
    #[error("{name} did not {what} within {limit:?}; its log is {log}")]
    TooSlow {
        /// Which process.
        name: String,
        /// What it should have done.
        what: &'static str,
        /// How long was waited.
        limit: Duration,
        /// Where its log is.
        log: PathBuf,
    },
    /// The system refused something about a running process.
    #[error("cannot {what} {name}: {source}")]
    System {
        /// Which process.
        name: String,
        /// What was refused.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

/// A cluster did not come up, or did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// One of its processes failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Its directory could not be used.
    #[error("cannot use {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A scheduler never saw all executors.
    #[error("{scheduler} did not become ready within {limit:?}: {last}")]
    NotReady {
        /// Which scheduler.
        scheduler: String,
        /// How long was waited.
        limit: Duration,
        /// What it said last.
        last: String,
    },
}
