//! A query that nobody waits for.

use std::time::Duration;

use crate::service::Statement;

/// A statement to be run by itself, and for how long its result is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// The statement, with its idempotency key.
    pub statement: Statement,
    /// How long it may take in all, from its acceptance on; without one, what the engine allows.
    pub timeout: Option<Duration>,
    /// How long its result is kept, from its end on; without one, as the engine likes.
    pub result_ttl: Option<Duration>,
}

impl Submission {
    /// A submission that leaves all times to the engine.
    pub fn new(statement: Statement) -> Self {
        Submission {
            statement,
            timeout: None,
            result_ttl: None,
        }
    }
}
