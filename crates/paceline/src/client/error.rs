use arrow_flight::error::FlightError;
use paceline_frontend::{ErrorReport, from_status};
use paceline_model::QueryError;

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
