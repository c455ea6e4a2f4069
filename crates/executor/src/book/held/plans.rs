//! Plans of stages, each sent once.

use bytes::Bytes;
use paceline_model::{Epoch, QueryId, StageId};

use crate::book::{Book, Refusal};

/// Why there is no plan to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PlanProblem {
    /// None was sent and none is kept.
    Missing,
    /// In one epoch the stage has one plan, and another one is in use.
    Conflict,
    /// Whoever launches may not command the query any more.
    Refused(Refusal),
}

impl From<Refusal> for PlanProblem {
    fn from(refusal: Refusal) -> Self {
        PlanProblem::Refused(refusal)
    }
}

#[derive(Debug)]
pub(super) struct Plan {
    bytes: Bytes,
    /// The last epoch in which it came.
    epoch: Epoch,
}

impl Book {
    /// The plan of a stage for launches that were admitted in that epoch: the one kept here, or the one
    /// sent. That of a former owner gives way to the one that is sent: its attempts have theirs with them,
    /// and have numbers of their own; what becomes of them and their outputs the present owner says, one
    /// by one.
    pub(crate) fn plan(
        &mut self,
        query: QueryId,
        stage: StageId,
        epoch: Epoch,
        sent: Option<Bytes>,
    ) -> Result<Bytes, PlanProblem> {
        let held = self.held.queries.get_mut(&query).ok_or(Refusal::Ended)?;
        held.obeys(epoch)?;
        let bytes = match (held.plans.get(&stage), sent) {
            (None, None) => return Err(PlanProblem::Missing),
            (Some(kept), None) => return Ok(kept.bytes.clone()),
            (Some(kept), Some(sent))
                if kept.epoch == epoch && kept.bytes != sent && held.is_using(stage) =>
            {
                return Err(PlanProblem::Conflict);
            }
            (_, Some(sent)) => sent,
        };
        let plan = Plan {
            bytes: bytes.clone(),
            epoch,
        };
        held.plans.insert(stage, plan);
        Ok(bytes)
    }
}
