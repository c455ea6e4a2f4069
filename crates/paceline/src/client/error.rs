use arrow_flight::error::FlightError;
use paceline_frontend::{ErrorReport, from_status};
use paceline_model::{ErrorClass, QueryError};

/// A server did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address makes no sense.
    #[error("'{address}' is not an address; write host:port")]
    Address {
        /// The address.
        address: String,
    },
    /// Nobody answers there.
    #[error("cannot reach {address}: {reason}; is a scheduler running there?")]
    Unreachable {
        /// The address.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// The query failed.
    #[error("{0}")]
    Query(QueryError),
    /// An answer that no Paceline gives.
    #[error("{address} gave an answer that makes no sense: {reason}")]
    Unintelligible {
        /// The address.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A result ended before its end.
    #[error("the result from {address} broke off; ask for it again")]
    BrokeOff {
        /// The address.
        address: String,
    },
    /// A refusal over HTTP.
    #[error("{message}")]
    Refused {
        /// The class, as one word.
        class: String,
        /// What is wrong.
        message: String,
    },
}

impl ClientError {
    /// Whether another scheduler may answer, or the same one in a moment.
    pub fn is_worth_another_try(&self) -> bool {
        match self {
            ClientError::Address { .. } => false,
            ClientError::Unreachable { .. } | ClientError::BrokeOff { .. } => true,
            ClientError::Query(error) => passes(error.class) || broke(&error.message),
            ClientError::Unintelligible { reason, .. } => broke(reason),
            ClientError::Refused { class, .. } => ErrorClass::parse(class).is_some_and(passes),
        }
    }

    pub(super) fn flight(address: &str, error: FlightError) -> Self {
        match error {
            FlightError::Tonic(status) => ClientError::Query(from_status(&status)),
            other => ClientError::Unintelligible {
                address: address.to_string(),
                reason: other.to_string(),
            },
        }
    }

    pub(super) fn refused(report: ErrorReport) -> Self {
        ClientError::Refused {
            class: report.class,
            message: report.message,
        }
    }

    pub(super) fn http(address: &str, error: &reqwest::Error) -> Self {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            reason = error.to_string();
            cause = error.source();
        }
        ClientError::Unreachable {
            address: address.to_string(),
            reason,
        }
    }
}

/// Whether what went wrong may have passed by the next try.
fn passes(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::Unavailable
            | ErrorClass::Retryable
            | ErrorClass::OutputLost
            | ErrorClass::Resource
            | ErrorClass::Fenced
    )
}

/// Whether the words are those of a connection that ended, which have no class of their own: they are
/// made on this side of it.
fn broke(message: &str) -> bool {
    let words = [
        "h2 protocol error",
        "transport error",
        "connection error",
        "operation was canceled",
    ];
    words.iter().any(|word| message.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_scheduler_may_answer_is_told_from_what_none_can() {
        let query = |class, message: &str| ClientError::Query(QueryError::new(class, message));
        let passing = [
            query(ErrorClass::Unavailable, "shutting down"),
            query(ErrorClass::Bug, "h2 protocol error: error reading a body"),
            ClientError::BrokeOff {
                address: "a:1".into(),
            },
        ];
        assert!(passing.iter().all(ClientError::is_worth_another_try));
        let lasting = [
            query(ErrorClass::User, "no such table"),
            query(ErrorClass::NotFound, "no such query"),
            ClientError::Address {
                address: "?".into(),
            },
        ];
        assert!(!lasting.iter().any(ClientError::is_worth_another_try));
    }
}
