//! What a scheduler that is told to stop waits for.

use std::time::{Duration, Instant};

use crate::slow_store::SlowStore;
use crate::support::Cluster;

/// A tenth of the time for which a journal waits for the store.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_store_that_is_away() {
    let store = SlowStore::start(Duration::ZERO).await;
    let cluster = Cluster::start_with(1, 0, |options| {
        options.state = "s3://bucket/x".to_string();
        options.state_options = store.options();
    })
    .await;
    store.go_away();
    let begun = Instant::now();
    let leaving = cluster.schedulers[0].drain(Duration::from_secs(1));
    let left = tokio::time::timeout(LIMIT, leaving).await;
    assert!(left.is_ok(), "{:?}", begun.elapsed());
}
