//! Waiting for a moment that may never come, and looking now and then.

use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior};

/// Waits until then; for ever, if there is no such moment.
#[expect(
    clippy::disallowed_methods,
    reason = "what is due then is deadlines and waits after failures, which nobody else tells of"
)]
pub(crate) async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// Ticks at once and then so far apart, also after a tick that came late. For what nobody tells of, and nobody
/// waits for.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing happens that would tell: it is looked for, and not on the path of a query"
)]
pub(crate) fn now_and_then(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
