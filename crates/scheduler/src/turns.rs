//! One at a time for each query.

use std::collections::HashMap;
use std::sync::Arc;

use paceline_model::QueryId;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Gate, OwnedMutexGuard};

use crate::requested::Requested;

/// Callers that are about to start one and the same query go one after the other, so that the second
/// finds what the first one made.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    gates: Mutex<HashMap<QueryId, Arc<Gate<()>>>>,
    doubted: Doubted,
}

/// What was asked for, by queries of which it is not known whose they are.
type Doubted = Arc<Mutex<HashMap<QueryId, Requested>>>;

/// The turn lasts for as long as this lives.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "held, not used")] OwnedMutexGuard<()>);

/// As long as this lives, a query is in the journal, and it is not known whose it is. Nobody waits for his
/// turn meanwhile, and nobody begins the query once more.
#[derive(Debug)]
pub(crate) struct Doubt {
    query: QueryId,
    doubted: Doubted,
}

impl Turns {
    /// Waits for the caller's turn.
    pub(crate) async fn begin(&self, query: QueryId) -> Turn {
        let gate = {
            let mut gates = self.gates.lock();
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
            Arc::clone(gates.entry(query).or_default())
        };
        Turn(gate.lock_owned().await)
    }

    /// Ends a turn in doubt of whose the query is; `requested` is what it was asked for.
    pub(crate) fn doubt(&self, _turn: Option<Turn>, query: QueryId, requested: Requested) -> Doubt {
        // The next turn begins with that known.
        self.doubted.lock().insert(query, requested);
        Doubt {
            query,
            doubted: Arc::clone(&self.doubted),
        }
    }

    /// What was asked for by a query of which it is not known whose it is.
    pub(crate) fn doubted(&self, query: QueryId) -> Option<Requested> {
        self.doubted.lock().get(&query).cloned()
    }
}

impl Drop for Doubt {
    fn drop(&mut self) {
        self.doubted.lock().remove(&self.query);
    }
}
