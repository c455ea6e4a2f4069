//! Why a stored result could not be written or read.

use paceline_model::{ErrorClass, QueryId};

use crate::StoreError;

/// A result that could not be written, or not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// The state store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part was asked for that the result does not have.
    #[error(
        "the result of query {query} has no page {part}: there are {parts}, and they are counted from 0"
    )]
    NoSuchPart {
        /// The query.
        query: QueryId,
        /// What was asked for.
        part: usize,
        /// How many there are.
        parts: usize,
    },
    /// A part that the index names is not there any more.
    #[error(
        "page {part} of the result of query {query} is gone: the result's time is over, and it was removed while it was read"
    )]
    Removed {
        /// The query.
        query: QueryId,
        /// The part.
        part: usize,
    },
    /// The task that wrote a part ended without an answer.
    #[error("a write of the result of query {query} was stopped half way")]
    Stopped {
        /// The query.
        query: QueryId,
    },
}

impl ResultError {
    /// What the failure means for a query that meets it.
    pub fn class(&self) -> ErrorClass {
        match self {
            ResultError::Store(error) => error.class(),
            ResultError::NoSuchPart { .. } | ResultError::Removed { .. } => ErrorClass::NotFound,
            ResultError::Stopped { .. } => ErrorClass::Unavailable,
        }
    }
}
