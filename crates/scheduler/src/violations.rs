//! What must never be, counted where this process could see it.

use paceline_model::Invariant;
use prometheus::{IntCounterVec, Opts, Registry};

/// Counts broken invariants. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Violations(IntCounterVec);

impl Violations {
    /// Makes the counter, which is visible from the start for each invariant.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = IntCounterVec::new(
            Opts::new(
                "paceline_invariant_violations_total",
                "How often something was seen that must never be. Anything but 0 is a bug, or a \
                 state store that does not keep its word.",
            ),
            &["invariant"],
        )?;
        registry.register(Box::new(counter.clone()))?;
        for invariant in Invariant::ALL {
            counter.with_label_values(&[invariant.as_str()]);
        }
        Ok(Violations(counter))
    }

    /// Something was seen that must never be.
    pub(crate) fn count(&self, invariant: Invariant, seen: &str) {
        tracing::error!(%invariant, promise = invariant.text(), seen, "an invariant is violated");
        self.0.with_label_values(&[invariant.as_str()]).inc();
    }

    /// How often that was.
    #[cfg(test)]
    pub(crate) fn of(&self, invariant: Invariant) -> u64 {
        self.0.with_label_values(&[invariant.as_str()]).get()
    }
}
