//! How long to wait before dialing again.

use std::time::Duration;

use rand::Rng;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// After an answer that will hardly change by itself, such as another protocol.
const AFTER_REFUSAL: Duration = Duration::from_secs(5);

/// Pauses that grow from failure to failure.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
}

impl Pause {
    /// After a stream that worked: dial again at once.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure: none after the first, then doubling, with jitter so that
    /// many executors do not come back in step.
    pub(super) fn next(&mut self) -> Duration {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        if failures == 0 {
            return Duration::ZERO;
        }
        let doubled = FIRST.saturating_mul(1 << (failures - 1).min(10));
        jittered(doubled.min(LONGEST))
    }

    pub(super) fn after_refusal(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        jittered(AFTER_REFUSAL)
    }
}

/// Between half and all of it.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_none_and_none_is_longer_than_the_longest() {
        let mut pause = Pause::default();
        assert_eq!(pause.next(), Duration::ZERO);
        let pauses: Vec<_> = (0..100).map(|_| pause.next()).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST);
        assert!(pauses.iter().all(|p| *p <= LONGEST));
        assert!(pauses[99] >= LONGEST / 2);
        pause.reset();
        assert_eq!(pause.next(), Duration::ZERO);
    }
}
