//! Queries that end soon ask the state store for nothing.

use std::time::Duration;

use crate::support::Cluster;

/// How often these schedulers have asked the store for anything but a list.
fn asked(cluster: &Cluster, schedulers: &[usize]) -> f64 {
    let operations = ["create", "get", "put", "delete"];
    let of = |scheduler: &usize| {
        operations.map(|it| cluster.value(*scheduler, "paceline_store_requests_total", it))
    };
    schedulers.iter().flat_map(of).sum()
}

async fn query(cluster: &Cluster, schedulers: &[usize]) {
    for scheduler in schedulers {
        let rows = cluster.sql(*scheduler, "SELECT count(*) AS n FROM t").await;
        assert_eq!(rows.unwrap()[0]["n"], 100);
    }
}

/// How often the store was asked during so many queries that what else is under way comes to its end: a
/// scheduler that has left is cleared away meanwhile.
async fn asked_by_many(cluster: &Cluster, schedulers: &[usize]) -> f64 {
    let before = asked(cluster, schedulers);
    for _ in 0..20 {
        query(cluster, schedulers).await;
    }
    asked(cluster, schedulers) - before
}

/// Returns once queries ask for nothing, if they go on like that.
async fn is_quiet(cluster: &Cluster, schedulers: &[usize]) {
    let what = format!("quiet queries at {schedulers:?}");
    cluster
        .until(&what, || async {
            asked_by_many(cluster, schedulers).await == 0.0
        })
        .await;
    assert_eq!(asked_by_many(cluster, schedulers).await, 0.0);
}

/// The schedulers look at beacons when they start and then not for half an hour, so they know of each other
/// in time only if those who start make themselves known.
#[tokio::test(flavor = "multi_thread")]
async fn queries_ask_for_nothing_once_schedulers_have_met_and_when_one_has_left() {
    let cluster = Cluster::start_with(2, 1, |options| {
        options.beat = Duration::from_secs(3600);
        options.takeover_after = Duration::from_secs(3 * 3600);
        options.linger = Duration::from_secs(3600);
    })
    .await;
    cluster.make_table("t", 100).await;
    is_quiet(&cluster, &[0, 1]).await;
    cluster.schedulers[1].drain(Duration::from_secs(30)).await;
    is_quiet(&cluster, &[0]).await;
}
