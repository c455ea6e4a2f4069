//! What may go wrong with journals.

use paceline_core::ownership::Closed;
use paceline_model::{ErrorClass, SchedulerId};

use crate::StoreError;

/// A record that did not become durable, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The journal is over: this scheduler owns nothing any more.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The writer was stopped. Whether the record was written is for a replay to find out.
    #[error("the journal's writer was stopped; whether the record was written is not known")]
    Stopped,
}

impl AppendError {
    /// What the failure means for a query that meets it.
    pub fn class(&self) -> ErrorClass {
        match self {
            AppendError::Closed(_) => ErrorClass::Fenced,
            AppendError::Stopped => ErrorClass::Unavailable,
        }
    }
}

/// A journal that could not be read or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The state store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A segment that must be there is not.
    #[error(
        "segment {missing} of the journal of scheduler '{journal}' cannot be found at {location}; if something removed it, restore it"
    )]
    Missing {
        /// The state location.
        location: String,
        /// The journal's scheduler.
        journal: SchedulerId,
        /// The segment.
        missing: u64,
    },
    /// The journal grew each time it was about to be sealed.
    #[error("the journal of scheduler '{journal}' grew {tries} times while it was being sealed")]
    Contended {
        /// The journal's scheduler.
        journal: SchedulerId,
        /// How often it was tried.
        tries: u32,
    },
    /// Segments were to be removed from a journal that is not drained.
    #[error("the journal of scheduler '{journal}' is not drained; its segments have to stay")]
    NotDrained {
        /// The journal's scheduler.
        journal: SchedulerId,
    },
}

impl JournalError {
    /// What the failure means for whoever meets it.
    pub fn class(&self) -> ErrorClass {
        match self {
            JournalError::Store(error) => error.class(),
            JournalError::Missing { .. } | JournalError::Contended { .. } => {
                ErrorClass::Unavailable
            }
            JournalError::NotDrained { .. } => ErrorClass::Bug,
        }
    }
}
