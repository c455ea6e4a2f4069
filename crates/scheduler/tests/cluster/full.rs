//! More queries than may run and wait.

use std::path::Path;
use std::time::Duration;

use paceline_store::{JournalMetrics, Journals};
use prometheus::Registry;
use serde_json::{Value, json};

use crate::support::{Cluster, store};

const SQL: &str = "/v1/sql";
const QUERIES: &str = "/v1/queries";

/// The queries that have names in the state.
fn named(state: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(state.join("queries")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Once it was acknowledged it would be too late: its one outcome would say so for good.
#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_place_leaves_nothing_and_is_accepted_when_there_is_one() {
    let mut cluster = Cluster::start_with(1, 0, |options| {
        options.no_executor_grace = Duration::from_secs(3600);
        options.max_running_queries = 1;
        options.max_queued_queries = 1;
    })
    .await;
    let state = cluster.directory.path().join("state");
    let read = json!({ "sql": "SELECT 1 AS a" });
    let mut first = Vec::new();
    for key in ["runs", "waits"] {
        let (status, text) = cluster.post(0, QUERIES, key, &read).await;
        assert_eq!(status, 202, "{text}");
        let accepted: Value = serde_json::from_str(&text).unwrap();
        first.push(accepted["query_id"].as_str().unwrap().to_string());
    }
    let before = named(&state);
    assert_eq!(before.len(), 2, "{before:?}");
    let more = [
        (QUERIES, "read", read.clone(), 202),
        (
            QUERIES,
            "submitted",
            json!({ "sql": "CREATE TABLE v AS SELECT 1 AS a" }),
            202,
        ),
        (
            SQL,
            "write",
            json!({ "sql": "CREATE TABLE w AS SELECT 1 AS a" }),
            200,
        ),
    ];
    for (path, key, body, _) in &more {
        let (status, text) = cluster.post(0, path, key, body).await;
        assert_eq!(status, 429, "{key}: {text}");
        assert!(text.contains("too many queries"), "{key}: {text}");
    }
    assert_eq!(named(&state), before);
    let metrics = JournalMetrics::register(&Registry::new()).unwrap();
    let journals = Journals::new(store(&state), metrics);
    let own = journals.replay(&cluster.schedulers[0].id()).await.unwrap();
    assert_eq!(own.book.queries().count(), 2);
    let refused = cluster.value(0, "paceline_queries_total", "refused");
    assert_eq!(refused, 3.0);

    cluster.add_executor().await;
    for query in &first {
        cluster.finished(0, query).await;
    }
    for (path, key, body, code) in &more {
        let (status, text) = cluster.post(0, path, key, body).await;
        assert_eq!(status, *code, "{key}: {text}");
        if *code == 202 {
            let accepted: Value = serde_json::from_str(&text).unwrap();
            let query = accepted["query_id"].as_str().unwrap();
            cluster.finished(0, query).await;
        }
    }
}
