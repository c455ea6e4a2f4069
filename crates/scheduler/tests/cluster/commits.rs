//! What queries cost the state store.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::json;

use crate::slow_store::SlowStore;
use crate::support::Cluster;

const QUERIES: usize = 1000;
/// How many clients there are: enough for a query to live longer than a commit takes.
const AT_ONCE: usize = 100;
const WRITE: Duration = Duration::from_millis(50);

/// Every query of it is old enough for the journal at once, and most are still there when the write
/// before theirs is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_short_queries_cost_no_more_writes_than_there_are_commits() {
    let store = SlowStore::start(WRITE).await;
    let cluster = Cluster::start_with(1, 1, |options| {
        options.state = "s3://bucket/x".to_string();
        options.state_options = store.options();
        options.linger = Duration::ZERO;
        options.small_plan = paceline_model::ByteSize::mib(32);
        options.max_queued_queries = QUERIES;
        // So far apart that nothing but its length makes the journal short.
        options.beat = Duration::from_secs(3600);
    })
    .await;
    cluster.make_table("t", 100).await;
    let before = store.writes("/journal/");
    let records_before = cluster.count(0, "paceline_journal_delay_seconds");
    let started = Instant::now();
    let run = |n: usize| {
        let (cluster, limit) = (&cluster, n % 100);
        async move {
            let sql = format!("SELECT count(*) AS n FROM t WHERE id < {limit}");
            let rows = cluster.sql(0, &sql).await.unwrap();
            assert_eq!(rows[0]["n"], limit, "{rows:?}");
        }
    };
    let queries = futures::stream::iter((0..QUERIES).map(run));
    queries.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    let took = started.elapsed();
    let writes = store.writes("/journal/") - before;
    let records = cluster.count(0, "paceline_journal_delay_seconds") - records_before;
    println!("{QUERIES} queries in {took:?}: {records} records in {writes} writes of {WRITE:?}");
    let commits = took.as_millis() / WRITE.as_millis() + 1;
    assert!(
        writes as u128 <= commits,
        "{writes} writes, {commits} commits"
    );
    assert!(
        records >= QUERIES as u64 / 2,
        "only {records} records were worth a write"
    );
    assert!(writes as u64 * 4 <= records, "{records} in {writes} writes");
    assert_eq!(store.writes("/owners/") + store.writes("/queries/"), 0);
    cluster
        .until("snapshots to stand for most of it", || async {
            store.names("/journal/") * 2 <= writes
        })
        .await;
}

/// Whether a segment of any journal has that text in it.
fn journaled(state: &Path, text: &str) -> bool {
    let list = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let segments = list(&state.join("journal")).flat_map(|journal| list(&journal.path()));
    segments.into_iter().any(|segment| {
        let bytes = std::fs::read(segment.path()).unwrap_or_default();
        let mut parts = bytes.windows(text.len());
        parts.any(|part| part == text.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_written_down_takes_no_other_along() {
    let cluster = Cluster::start_with(1, 1, |options| {
        options.linger = Duration::from_secs(3600);
    })
    .await;
    cluster.make_table("t", 100).await;
    let passing = async {
        let run = |n: usize| {
            let cluster = &cluster;
            async move {
                let sql = format!("SELECT count(*) AS passing FROM t WHERE id < {n}");
                let rows = cluster.sql(0, &sql).await.unwrap();
                assert_eq!(rows[0]["passing"], n, "{rows:?}");
            }
        };
        let queries = futures::stream::iter((0..100).map(run));
        queries.buffer_unordered(10).collect::<Vec<()>>().await;
    };
    let kept = async {
        for n in 0..20 {
            let body = json!({ "sql": format!("SELECT count(*) AS kept FROM t WHERE id < {n}") });
            let (status, text) = cluster
                .post(0, "/v1/queries", &format!("kept {n}"), &body)
                .await;
            assert_eq!(status, 202, "{text}");
        }
    };
    futures::join!(passing, kept);
    let state = cluster.directory.path().join("state");
    assert!(journaled(&state, "AS kept"));
    assert!(!journaled(&state, "AS passing"));
}
