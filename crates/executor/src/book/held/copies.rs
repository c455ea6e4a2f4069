//! Copies of results that went to owners with the ends of their attempts.

use bytes::Bytes;
use paceline_model::OutputId;
use paceline_proto::cluster;
use paceline_proto::cluster::task_state::State;

use super::Held;
use crate::book::task_state;

/// Bytes of results kept in copies, of all queries together. As long as owners live nobody asks for them,
/// so what is beyond that is not kept.
const COPIES_BYTES: usize = 64 << 20;

impl Held {
    /// Keeps an end that brings the owner a result until the query ends, if there is room.
    pub(in crate::book) fn keep_copy(&mut self, id: OutputId, state: &cluster::TaskState) {
        let bytes = result_bytes(state);
        let (Some(State::Finished(finished)), Some(held)) =
            (&state.state, self.queries.get_mut(&id.query))
        else {
            return;
        };
        if bytes == 0 || self.copied + bytes > COPIES_BYTES {
            return;
        }
        let finished = cluster::Finished {
            inline_result: finished.inline_result.clone(),
            ..output_alone(state)
        };
        let copy = task_state(id, State::Finished(finished));
        self.copied += bytes;
        if let Some(former) = held.copies.insert(id, copy) {
            self.copied -= result_bytes(&former);
        }
    }
}

/// Of a finished attempt what an inventory says: how it ran was told with its end.
pub(super) fn output_alone(state: &cluster::TaskState) -> cluster::Finished {
    let output = match &state.state {
        Some(State::Finished(finished)) => finished.output.clone(),
        _ => None,
    };
    cluster::Finished {
        output,
        ..cluster::Finished::default()
    }
}

/// How much of a result a state brings along.
pub(super) fn result_bytes(state: &cluster::TaskState) -> usize {
    match &state.state {
        Some(State::Finished(finished)) => finished.inline_result.as_ref().map_or(0, Bytes::len),
        _ => 0,
    }
}
