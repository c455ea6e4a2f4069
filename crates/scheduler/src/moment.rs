//! Waiting for a moment that may never come.

use std::time::Instant;

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
