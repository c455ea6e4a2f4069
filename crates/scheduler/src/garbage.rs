//! What only time takes away, taken away by one scheduler now and then.

use std::sync::Arc;
use std::time::Duration;

use paceline_core::ownership::rank;
use paceline_model::QueryId;
use paceline_store::Garbage;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use crate::shared::Shared;

/// The longest and the shortest time between two sweeps.
const SWEEPS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(3600)];

/// Sweeps for as long as it is polled. Which scheduler does it is agreed upon without talking; that two
/// do it for a while does no harm.
pub(crate) async fn sweep_garbage(shared: Arc<Shared>, garbage: Garbage, age: Duration) {
    let [shortest, longest] = SWEEPS;
    let every = (age / 8).clamp(shortest, longest);
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (me, live) = (shared.driver.me(), shared.membership.live());
        let live = live.iter().map(|beacon| &beacon.scheduler);
        if rank(QueryId(Uuid::nil()), &me, live) > 0 {
            continue;
        }
        match garbage.sweep(age).await {
            Ok(swept) => shared.driver.metrics.swept(&swept),
            Err(error) => tracing::warn!(%error, "old state could not be removed; it will be"),
        }
    }
}
