//! One at a time for each query.

use std::collections::HashMap;
use std::sync::Arc;

use paceline_model::QueryId;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Gate, OwnedMutexGuard};

/// Callers that are about to start one and the same query go one after the other, so that the second
/// finds what the first one made.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<QueryId, Arc<Gate<()>>>>);

/// The turn lasts for as long as this lives.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "held, not used")] OwnedMutexGuard<()>);

impl Turns {
    /// Waits for the caller's turn.
    pub(crate) async fn begin(&self, query: QueryId) -> Turn {
        let gate = {
            let mut gates = self.0.lock();
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
            Arc::clone(gates.entry(query).or_default())
        };
        Turn(gate.lock_owned().await)
    }
}
