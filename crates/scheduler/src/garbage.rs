//! What only time takes away, taken away by one scheduler now and then.

use std::sync::Arc;
use std::time::Duration;

use paceline_model::QueryId;
use paceline_store::Garbage;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use crate::duties::Duties;
use crate::shared::Shared;

/// The longest and the shortest time between two sweeps.
const SWEEPS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(3600)];

/// Stands for all of it: one scheduler does the whole sweep.
const NO_QUERY: QueryId = QueryId(Uuid::nil());

/// Sweeps for as long as it is polled, if this is the scheduler that does.
pub(crate) async fn sweep_garbage(shared: Arc<Shared>, garbage: Garbage, age: Duration) {
    let [shortest, longest] = SWEEPS;
    let every = (age / 8).clamp(shortest, longest);
    #[expect(
        clippy::disallowed_methods,
        reason = "nobody waits for a sweep: names go when their time is over"
    )]
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !Duties::of(&shared).include(NO_QUERY) {
            continue;
        }
        match garbage.sweep(age).await {
            Ok(swept) => shared.driver.metrics.swept(&swept),
            Err(error) => tracing::warn!(%error, "old state could not be removed; it will be"),
        }
    }
}
