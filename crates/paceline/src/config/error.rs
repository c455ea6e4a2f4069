use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a file.
    File(PathBuf),
    /// In a variable of the environment.
    Environment(String),
    /// As a flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "the environment variable {name}"),
            Origin::Flag(name) => write!(f, "the flag {name}"),
        }
    }
}

/// A configuration that cannot be used: what is wrong, where, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path} is not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says, and in which line.
        message: String,
    },
    /// A key that means nothing.
    #[error("unknown key '{key}' in {origin}; {advice}")]
    UnknownKey {
        /// The key with its section.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// Which key was probably meant.
        advice: String,
    },
    /// A value that its key cannot take.
    #[error("{key} in {origin} is {found}, but must be {expected}")]
    Value {
        /// The key with its section.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The value.
        found: String,
        /// What it could be.
        expected: String,
    },
    /// Values that contradict each other or cannot work.
    #[error("the configuration cannot work: {problem}")]
    Relation {
        /// Which values, and what to do.
        problem: String,
    },
}
