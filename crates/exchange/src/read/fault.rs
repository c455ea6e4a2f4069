//! Why a unit of an input could not be read, before anyone knows which output that concerns.

use std::sync::Arc;

use arrow::error::ArrowError;
use paceline_model::{LostOutput, OutputLocation, StageId};

use crate::error::{LostReason, ReadError};
use crate::store::Unreadable;

#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Lost(LostReason),
    Resource(String),
    Protocol { address: String, detail: String },
    Malformed(Arc<ArrowError>),
}

impl Fault {
    /// The fault as that of reading one output.
    pub(crate) fn reading(self, stage: StageId, location: &OutputLocation) -> ReadError {
        match self {
            Fault::Lost(reason) => ReadError::Lost {
                lost: LostOutput {
                    stage,
                    task: location.task,
                    attempt: location.attempt,
                    executor: location.executor.clone(),
                    unreachable: reason.unreachable(),
                },
                reason,
            },
            Fault::Resource(detail) => ReadError::Resource { stage, detail },
            Fault::Protocol { address, detail } => ReadError::Protocol { address, detail },
            Fault::Malformed(source) => ReadError::Malformed { stage, source },
        }
    }
}

impl From<LostReason> for Fault {
    fn from(reason: LostReason) -> Self {
        Fault::Lost(reason)
    }
}

impl From<Unreadable> for Fault {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Lost(reason) => Fault::Lost(reason),
            Unreadable::Resource(detail) => Fault::Resource(detail),
        }
    }
}

impl From<ArrowError> for Fault {
    fn from(error: ArrowError) -> Self {
        Fault::Malformed(Arc::new(error))
    }
}
