//! Cancels: who is told that a query was cancelled may rely on it, whoever dies then.

use std::time::Duration;

use paceline_model::{QueryId, QueryState};
use paceline_store::{Claims, JournalMetrics};
use prometheus::Registry;
use serde_json::{Value, json};

use crate::support::{Cluster, store};

/// Nothing ends in it by itself, because there is nobody to run anything.
async fn without_executors() -> Cluster {
    Cluster::start_with(2, 0, |options| {
        options.no_executor_grace = Duration::from_secs(3600);
    })
    .await
}

/// Submits a statement to the second scheduler.
async fn submitted(cluster: &Cluster, key: &str, sql: &str) -> String {
    let body = json!({ "sql": sql });
    let (status, text) = cluster.post(1, "/v1/queries", key, &body).await;
    assert_eq!(status, 202, "{text}");
    let accepted: Value = serde_json::from_str(&text).unwrap();
    accepted["query_id"].as_str().unwrap().to_string()
}

/// Cancels a query of the second scheduler at the first one, while its outcome is held up for a while.
async fn is_told_once_it_has_its_outcome(cluster: &Cluster, query: &str) {
    let state = cluster.directory.path().join("state");
    // Who finds a directory in the place of an outcome cannot find out whether it has made that.
    let outcome = state.join(format!("queries/{query}/finished"));
    std::fs::create_dir_all(&outcome).unwrap();
    let in_doubt = || cluster.value(1, "paceline_store_creates_total", "unknown");
    let before = in_doubt();
    let mut cancelling = std::pin::pin!(cluster.cancel(0, query));
    tokio::select! {
        status = &mut cancelling => panic!("{status}, and it has no outcome"),
        () = cluster.until("the outcome to be held up", || async { in_doubt() > before }) => {}
    }
    let report = cluster.get(1, &format!("/v1/queries/{query}")).await;
    assert_eq!(report["state"], "running", "{report}");
    std::fs::remove_dir(&outcome).unwrap();
    assert_eq!(cancelling.await, 204);
    let metrics = JournalMetrics::register(&Registry::new()).unwrap();
    let claims = Claims::new(store(&state), metrics);
    let id: QueryId = query.parse().unwrap();
    let made = claims.outcome(id).await.unwrap().map(|ending| ending.state);
    assert_eq!(made, Some(QueryState::Cancelled));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_of_a_cancel_may_rely_on_it() {
    let mut cluster = without_executors().await;
    let read = submitted(&cluster, "read", "SELECT 1 AS a").await;
    let write = submitted(&cluster, "write", "CREATE TABLE w AS SELECT 1 AS a").await;
    for query in [&read, &write] {
        is_told_once_it_has_its_outcome(&cluster, query).await;
    }
    // It dies with nobody to hand anything over to.
    drop(cluster.schedulers.pop());
    for query in [&read, &write] {
        let report = cluster.get(0, &format!("/v1/queries/{query}")).await;
        assert_eq!(report["state"], "cancelled", "{report}");
        assert_eq!(report["epoch"], 0, "{report}");
        assert_eq!(cluster.cancel(0, query).await, 204, "it has ended");
    }
}

/// Its client waits for it, and it is nobody's by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_somebody_waits_for_is_cancelled_once_it_has_its_outcome() {
    let cluster = without_executors().await;
    let body = json!({ "sql": "CREATE TABLE w AS SELECT 1 AS a" });
    let mut writing = std::pin::pin!(cluster.post(1, "/v1/sql", "write", &body));
    let running = "/v1/queries?state=queued,running";
    let accepted = async || {
        let list = cluster.get(1, running).await;
        Some(list["queries"][0]["query_id"].as_str()?.to_string())
    };
    tokio::select! {
        answer = &mut writing => panic!("{answer:?}, and nobody can run it"),
        () = cluster.until("it to be accepted", || async { accepted().await.is_some() }) => {}
    }
    let query = accepted().await.unwrap();
    // Its client waits all the while.
    let cancelled = is_told_once_it_has_its_outcome(&cluster, &query);
    let ((status, text), ()) = tokio::join!(writing, cancelled);
    assert_eq!(status, 499, "{text}");
}
