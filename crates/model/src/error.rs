//! Failures, by what a caller can do about them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Attempt, ExecutorId, StageId, TaskId};

/// What a failure means for whoever meets it. The one list that retries, gRPC codes and HTTP codes
/// are chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorClass {
    /// The statement or its data are at fault: bad SQL, overflow, a corrupt file. Never retried.
    User,
    /// The named thing does not exist (a query id, a table that a ticket speaks of).
    NotFound,
    /// It contradicts what is there: a key that stands for another statement, a result that is not
    /// complete yet. The message says which.
    Conflict,
    /// The caller asked for it to stop.
    Cancelled,
    /// The query's own deadline passed.
    DeadlineExceeded,
    /// Something passing: I/O, a lost executor. Another attempt may succeed.
    Retryable,
    /// An exchange output cannot be read any more; it is made again.
    OutputLost,
    /// Memory, disk or a queue was full. Another attempt may succeed with less company.
    Resource,
    /// Nobody can serve right now (no executor, store away, shutting down). Try again later.
    Unavailable,
    /// Somebody else owns the query by now.
    Fenced,
    /// What was asked for is not built.
    Unsupported,
    /// A fault of Paceline's own.
    Bug,
}

impl ErrorClass {
    /// Every class, for tests that must cover them all.
    pub const ALL: [ErrorClass; 12] = [
        ErrorClass::User,
        ErrorClass::NotFound,
        ErrorClass::Conflict,
        ErrorClass::Cancelled,
        ErrorClass::DeadlineExceeded,
        ErrorClass::Retryable,
        ErrorClass::OutputLost,
        ErrorClass::Resource,
        ErrorClass::Unavailable,
        ErrorClass::Fenced,
        ErrorClass::Unsupported,
        ErrorClass::Bug,
    ];

    /// Whether another attempt of the same task may turn out better.
    pub fn worth_another_attempt(self) -> bool {
        matches!(
            self,
            ErrorClass::Retryable | ErrorClass::OutputLost | ErrorClass::Resource
        )
    }

    /// The class as one lower-case word, for logs, metrics and APIs.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorClass::User => "user",
            ErrorClass::NotFound => "not_found",
            ErrorClass::Conflict => "conflict",
            ErrorClass::Cancelled => "cancelled",
            ErrorClass::DeadlineExceeded => "deadline_exceeded",
            ErrorClass::Retryable => "retryable",
            ErrorClass::OutputLost => "output_lost",
            ErrorClass::Resource => "resource",
            ErrorClass::Unavailable => "unavailable",
            ErrorClass::Fenced => "fenced",
            ErrorClass::Unsupported => "unsupported",
            ErrorClass::Bug => "bug",
        }
    }

    /// The class that [`as_str`](Self::as_str) writes as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The output that a reader could not read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LostOutput {
    /// The producing stage.
    pub stage: StageId,
    /// The producing task.
    pub task: TaskId,
    /// The attempt that was to be read.
    pub attempt: Attempt,
    /// The executor that should have held it.
    pub executor: ExecutorId,
    /// Whether that executor could not be reached at all, so that all it holds is in doubt.
    pub unreachable: bool,
}

/// Why a query, or one attempt of a task, failed: said once, in words a user can act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// What can be done about it.
    pub class: ErrorClass,
    /// What is wrong, where, and what to do.
    pub message: String,
    /// With [`ErrorClass::OutputLost`], the outputs that are gone.
    pub lost: Vec<LostOutput>,
}

impl QueryError {
    /// A failure of that class, with its message.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        QueryError {
            class,
            message: message.into(),
            lost: Vec::new(),
        }
    }

    /// A failure to read one output.
    pub fn output_lost(lost: LostOutput, message: impl Into<String>) -> Self {
        QueryError {
            class: ErrorClass::OutputLost,
            message: message.into(),
            lost: vec![lost],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_read_back_as_written() {
        for class in ErrorClass::ALL {
            assert_eq!(ErrorClass::parse(class.as_str()), Some(class));
        }
        assert_eq!(ErrorClass::parse("nonsense"), None);
    }
}
