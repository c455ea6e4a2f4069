//! What queries and schedulers leave in the state store goes.

use std::path::Path;
use std::time::Duration;

use arrow::array::RecordBatch;
use serde_json::json;

use crate::flight::{flight, rows, started};
use crate::support::Cluster;

/// The names right below a folder of the state; none, if there is no such folder.
fn names(state: &Path, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(state.join(folder)).into_iter().flatten();
    let mut names: Vec<_> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_queries_and_schedulers_leave_goes() {
    let cluster = Cluster::start_with(2, 1, |options| {
        options.beat = Duration::from_millis(100);
        options.result_ttl = Duration::from_millis(200);
        options.garbage_after = Duration::from_secs(3);
    })
    .await;
    let state = cluster.directory.path().join("state");
    let leaving = cluster.schedulers[1].id().to_string();
    for scheduler in 0..2 {
        let sql = format!("SELECT {scheduler} AS a");
        let key = format!("key-{scheduler}");
        let (status, _) = cluster.named(scheduler, &sql, &key).await;
        assert_eq!(status, 200);
    }
    assert_eq!(names(&state, "queries").len(), 2, "each was accepted");
    // Nobody has read it when its owner leaves, so it gets another one.
    let mut client = flight(&cluster, 1).await;
    client.set_header("idempotency-key", "unread");
    let unread = started(&mut client, "SELECT 3 AS a").await;
    cluster.schedulers[1].drain(Duration::from_secs(5)).await;
    assert!(
        names(&state, "journal").contains(&leaving),
        "it left a journal"
    );
    cluster
        .until("the query to be adopted", || async {
            names(&state, "owners").len() == 1
        })
        .await;
    let read = rows(&mut flight(&cluster, 0).await, unread).await;
    assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);

    let staying = cluster.schedulers[0].id().to_string();
    cluster
        .until("all of it to go", || async {
            names(&state, "queries").is_empty()
                && names(&state, "owners").is_empty()
                && names(&state, "journal") == [staying.clone()]
        })
        .await;
    let counted = |kind: &str| {
        let name = "paceline_garbage_removed_total";
        (0..2).map(|n| cluster.value(n, name, kind)).sum::<f64>()
    };
    cluster
        .until("it to be counted", || async {
            let kinds = ["journal", "claim", "outcome", "result"];
            kinds.map(&counted) == [1.0, 1.0, 3.0, 0.0]
        })
        .await;
}

/// Its own journal is all that holds them, and nothing else is written that would make that short.
#[tokio::test(flavor = "multi_thread")]
async fn what_ended_queries_leave_in_a_live_journal_goes() {
    let cluster = Cluster::start_with(1, 1, |options| {
        options.beat = Duration::from_millis(50);
        options.linger = Duration::ZERO;
    })
    .await;
    for n in 0..3 {
        let sql = format!("SELECT {n} AS once_asked");
        let rows = cluster.sql(0, &sql).await.unwrap();
        assert_eq!(rows[0]["once_asked"], n);
    }
    cluster
        .until("they were written down", || async {
            cluster.count(0, "paceline_journal_delay_seconds") > 0
        })
        .await;
    let me = cluster.schedulers[0].id().to_string();
    let journal = cluster.directory.path().join("state/journal").join(me);
    let says_nothing = |segment: std::fs::DirEntry| {
        let bytes = std::fs::read(segment.path()).unwrap_or_default();
        !String::from_utf8_lossy(&bytes).contains("once_asked")
    };
    cluster
        .until("one segment, without any of them", || async {
            let segments = std::fs::read_dir(&journal).into_iter().flatten().flatten();
            let each: Vec<bool> = segments.map(says_nothing).collect();
            each == [true] && cluster.value(0, "paceline_journal_segments", "") == 1.0
        })
        .await;
}

/// It was kept for its time, and nothing but a sweep takes it away.
#[tokio::test(flavor = "multi_thread")]
async fn stored_results_go_when_their_time_is_over() {
    let cluster = Cluster::start_with(2, 1, |options| {
        options.submitted_ttl = Duration::from_secs(1);
    })
    .await;
    let state = cluster.directory.path().join("state");
    let (brief, lasting) = (
        json!({"sql": "SELECT 1 AS a"}),
        json!({"sql": "SELECT 2 AS a", "result_ttl": "1h"}),
    );
    let mut queries = Vec::new();
    for (key, body) in [("brief", &brief), ("lasting", &lasting)] {
        let (status, text) = cluster.post(0, "/v1/queries", key, body).await;
        assert_eq!(status, 202, "{text}");
        let accepted: serde_json::Value = serde_json::from_str(&text).unwrap();
        queries.push(accepted["query_id"].as_str().unwrap().to_string());
    }
    for query in &queries {
        let report = cluster.finished(1, query).await;
        assert_eq!(report["result"]["rows"], 1, "{report}");
    }
    cluster
        .until("one of them to be left", || async {
            names(&state, "results") == [queries[1].clone()]
        })
        .await;
}
