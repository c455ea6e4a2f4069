//! What may go wrong with the store, by what a caller can do about it.

use paceline_model::ErrorClass;

/// A request to the state store that did not do what it should.
///
/// What the store's client said is kept as text, cleaned of secrets, and not as a source: the
/// sources print URLs with their signatures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store did not answer in time, or with a failure that may pass.
    #[error(
        "the state store at {location} did not {operation} '{key}': {reason}. Check that the store can be reached from this machine"
    )]
    Unavailable {
        /// The state location.
        location: String,
        /// What was asked for.
        operation: &'static str,
        /// The object.
        key: String,
        /// What the store's client said.
        reason: String,
    },
    /// The store refused: credentials, permissions, a missing bucket. Nothing was written.
    #[error(
        "the state store at {location} refused to {operation} '{key}': {reason}. Check that the bucket or directory exists, the credentials, and that they may read, list, write and delete there"
    )]
    Refused {
        /// The state location.
        location: String,
        /// What was asked for.
        operation: &'static str,
        /// The object.
        key: String,
        /// What the store's client said.
        reason: String,
    },
    /// A create whose outcome could not be found out: it may have been applied, and may still be.
    /// Nothing may be built on it until the key is read again.
    #[error(
        "whether '{key}' was created in the state store at {location} is not known: {reason}. It may still appear; look again before repeating it"
    )]
    Unknown {
        /// The state location.
        location: String,
        /// The object.
        key: String,
        /// What the store's client said last.
        reason: String,
    },
    /// An object that cannot be what Paceline wrote.
    #[error(
        "'{key}' in the state store at {location} cannot be read: {reason}. Something else wrote to this location, or the object was damaged; use a location of Paceline's own, or restore it"
    )]
    Corrupt {
        /// The state location.
        location: String,
        /// The object.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An object that a later Paceline wrote, in a way this one does not understand.
    #[error(
        "'{key}' in the state store at {location} was written by a newer Paceline ({what}); upgrade this process"
    )]
    Newer {
        /// The state location.
        location: String,
        /// The object.
        key: String,
        /// What is not understood.
        what: String,
    },
}

impl StoreError {
    /// What the failure means for a query that meets it.
    pub fn class(&self) -> ErrorClass {
        match self {
            StoreError::Unavailable { .. }
            | StoreError::Refused { .. }
            | StoreError::Unknown { .. } => ErrorClass::Unavailable,
            StoreError::Newer { .. } => ErrorClass::Unsupported,
            StoreError::Corrupt { .. } => ErrorClass::Bug,
        }
    }
}
