//! Time as the core is told it: it has no clock of its own.

use std::time::Duration;

/// How long the scheduler has been up, on its monotonic clock. The caller reads the clock; the core
/// only compares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Now(pub Duration);

impl Now {
    /// The moment that much later; the end of time if there is none.
    #[must_use]
    pub fn after(self, delay: Duration) -> Now {
        Now(self.0.saturating_add(delay))
    }

    /// How long ago `earlier` was; zero if it is still to come.
    pub fn since(self, earlier: Now) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
