//! Requests under a name of the client's own: the same one is one query, whichever schedulers get it, and
//! what asks for anything else is told so.

use std::time::Duration;

use paceline_model::QueryId;
use paceline_store::{JournalMetrics, Journals};
use prometheus::Registry;
use serde_json::{Value, json};
use tonic::Code;

use crate::flight::{flight, started};
use crate::support::{Cluster, store};

const SQL: &str = "/v1/sql";
const QUERIES: &str = "/v1/queries";

/// The query that the name `nightly-report` stands for.
const NIGHTLY: &str = "b568f07a-2d94-83db-9dbb-a8f676b11a37";

fn id(accepted: &str) -> String {
    let accepted: Value = serde_json::from_str(accepted).unwrap();
    accepted["query_id"].as_str().unwrap().to_string()
}

/// Sends something else under a name that was used: it is refused, and told what is different.
async fn is_refused(
    cluster: &Cluster,
    scheduler: usize,
    path: &str,
    key: &str,
    (body, says): (Value, &str),
) {
    let (status, text) = cluster.post(scheduler, path, key, &body).await;
    assert_eq!(status, 409, "{body}: {text}");
    assert!(text.contains(says), "{body}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_stands_for_all_that_was_asked_under_it() {
    let cluster = Cluster::start(2, 1).await;
    let asked = |sql: &str, value: i64, schema: &str| json!({"sql": sql, "parameters": [value], "settings": {"schema": schema}});
    let first = asked("SELECT $1 AS a", 1, "public");
    for scheduler in [0, 1, 0] {
        let answer = cluster.post(scheduler, SQL, "k", &first).await;
        assert_eq!(answer, (200, r#"[{"a":1}]"#.to_string()));
    }
    for scheduler in [0, 1] {
        for other in [
            (asked("SELECT $1 AS a", 2, "public"), "other parameters"),
            (
                asked("SELECT $1 AS a", 1, "information_schema"),
                "other settings",
            ),
            (asked("SELECT $1 AS b", 1, "public"), "another statement"),
        ] {
            is_refused(&cluster, scheduler, SQL, "k", other).await;
        }
        // It would be told of as submitted, and its result is not kept.
        let kept = (first.clone(), "keep no result");
        is_refused(&cluster, scheduler, QUERIES, "k", kept).await;
    }
    let finished = (0..2).map(|n| cluster.value(n, "paceline_queries_total", "finished"));
    assert_eq!(finished.sum::<f64>(), 1.0, "it was run once");
}

/// Its owner is gone, and no journal holds it: outcomes and the log of the catalog tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_remembered_with_what_came_of_it() {
    let cluster = Cluster::start(2, 1).await;
    let write = json!({"sql": "CREATE TABLE w AS SELECT 1 AS a"});
    let change = json!({"sql": "CREATE VIEW v AS SELECT 1 AS a"});
    let report = json!({"sql": "SELECT 1 AS a", "timeout": "1m", "result_ttl": "1h"});
    let sent = [
        (SQL, "write", &write, 200),
        (SQL, "change", &change, 200),
        (QUERIES, "report", &report, 202),
    ];
    let mut first = Vec::new();
    for (path, key, body, code) in sent {
        let (status, text) = cluster.post(0, path, key, body).await;
        assert_eq!(status, code, "{key}: {text}");
        first.push(text);
    }
    let query = id(&first[2]);
    cluster.finished(0, &query).await;
    cluster.schedulers[0].drain(Duration::from_secs(5)).await;

    for ((path, key, body, code), before) in sent.iter().zip(&first) {
        let (status, text) = cluster.post(1, path, key, body).await;
        assert_eq!(status, *code, "{key}: {text}");
        match *path {
            SQL => assert_eq!(text, *before, "{key}"),
            _ => assert_eq!(id(&text), query),
        }
        let mut other = Value::clone(body);
        other["settings"] = json!({"schema": "public"});
        is_refused(&cluster, 1, path, key, (other, "other settings")).await;
    }
    for key in ["write", "change"] {
        let kept = match key {
            "write" => write.clone(),
            _ => change.clone(),
        };
        is_refused(&cluster, 1, QUERIES, key, (kept, "keep no result")).await;
    }
    for (field, value) in [("timeout", "2m"), ("result_ttl", "2h")] {
        let mut other = report.clone();
        other[field] = json!(value);
        let says = format!("another {field}");
        is_refused(&cluster, 1, QUERIES, "report", (other, &says)).await;
    }
    let waits = json!({"sql": "SELECT 1 AS a"});
    is_refused(&cluster, 1, SQL, "report", (waits, "POST /v1/queries")).await;
}

/// It has not ended when its owner leaves: the journal tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_handed_over_with_its_query() {
    let cluster = Cluster::start(2, 1).await;
    let mut named = flight(&cluster, 0).await;
    named.set_header("idempotency-key", "k");
    started(&mut named, "SELECT 1 AS a").await;
    named.set_header("x-paceline-settings", "schema=information_schema");
    let refused = named.execute("SELECT 1 AS a".to_string(), None).await;
    let refused: tonic::Status = refused.unwrap_err().into();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    assert!(refused.message().contains("other settings"), "{refused}");
    // Nobody has read its result, so its journal holds it.
    cluster.schedulers[0].drain(Duration::from_secs(5)).await;

    let same = json!({"sql": "SELECT 1 AS a"});
    let mut other = same.clone();
    other["settings"] = json!({"schema": "information_schema"});
    is_refused(&cluster, 1, SQL, "k", (other, "other settings")).await;
    let answer = cluster.post(1, SQL, "k", &same).await;
    assert_eq!(answer, (200, r#"[{"a":1}]"#.to_string()));
}

/// Each may have accepted it before either knows of the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_under_one_name_are_one_query() {
    const NAMES: usize = 20;
    let cluster = Cluster::start(2, 1).await;
    let mut queries = Vec::new();
    for n in 0..NAMES {
        let (key, body) = (
            format!("key-{n}"),
            json!({"sql": format!("SELECT {n} AS a")}),
        );
        let (one, other) = tokio::join!(
            cluster.post(0, QUERIES, &key, &body),
            cluster.post(1, QUERIES, &key, &body),
        );
        assert_eq!((one.0, other.0), (202, 202), "{one:?} {other:?}");
        let query = id(&one.1);
        assert_eq!(id(&other.1), query);
        queries.push(query);
    }
    for query in &queries {
        let report = cluster.finished(0, query).await;
        assert_eq!(report["epoch"], 0, "{report}");
        assert_eq!(report["result"]["rows"], 1, "{report}");
    }
    let finished = (0..2).map(|n| cluster.value(n, "paceline_queries_total", "finished"));
    assert_eq!(finished.sum::<f64>(), NAMES as f64, "each was run once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_doubt_is_settled_though_nobody_asks_again() {
    let cluster = Cluster::start(1, 1).await;
    let state = cluster.directory.path().join("state");
    // Who finds a directory in the place of its claim cannot find out whether it has claimed.
    let claim = state.join(format!("queries/{NIGHTLY}/submitted"));
    std::fs::create_dir_all(&claim).unwrap();
    let body = json!({ "sql": "SELECT 1 AS a" });
    let (status, text) = cluster.post(0, QUERIES, "nightly-report", &body).await;
    assert_eq!(status, 503, "{text}");
    std::fs::remove_dir(&claim).unwrap();
    let report = cluster.finished(0, NIGHTLY).await;
    assert_eq!(report["query_id"], NIGHTLY, "{report}");
}

/// One scheduler, at which nothing ends by itself, because there is nobody to run anything.
async fn without_executors() -> Cluster {
    Cluster::start_with(1, 0, |options| {
        options.no_executor_grace = Duration::from_secs(3600);
    })
    .await
}

/// Waits until the query that `nightly-report` stands for is driven; it is as it was asked for first, and so
/// it is in the journal.
async fn is_begun_once(cluster: &Cluster, sql: &str) {
    let path = format!("/v1/queries/{NIGHTLY}");
    cluster
        .until("it to be begun", || async {
            cluster.get(0, &path).await["query_id"] == NIGHTLY
        })
        .await;
    assert_eq!(cluster.get(0, &path).await["sql"], sql);
    let metrics = JournalMetrics::register(&Registry::new()).unwrap();
    let state = cluster.directory.path().join("state");
    let journals = Journals::new(store(&state), metrics);
    let own = journals.replay(&cluster.schedulers[0].id()).await.unwrap();
    let query: QueryId = NIGHTLY.parse().unwrap();
    let written = own.book.held(query).unwrap().known.statement.clone();
    assert_eq!(written.unwrap().sql, sql);
}

/// Planned once more it would be another plan: one would run, and its next owner would find the other one.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_is_not_begun_once_more() {
    let cluster = without_executors().await;
    let state = cluster.directory.path().join("state");
    // See above.
    let claim = state.join(format!("queries/{NIGHTLY}/submitted"));
    std::fs::create_dir_all(&claim).unwrap();
    let first = json!({ "sql": "SELECT 1 AS a" });
    for turn in ["first", "again"] {
        let (status, text) = cluster.post(0, QUERIES, "nightly-report", &first).await;
        assert_eq!(status, 503, "{turn}: {text}");
        assert!(text.contains("same Idempotency-Key"), "{turn}: {text}");
    }
    let other = (json!({ "sql": "SELECT 1 AS b" }), "another statement");
    is_refused(&cluster, 0, QUERIES, "nightly-report", other).await;
    std::fs::remove_dir(&claim).unwrap();
    is_begun_once(&cluster, "SELECT 1 AS a").await;
}

/// What was begun goes on without its client, and so does its turn.
#[tokio::test(flavor = "multi_thread")]
async fn who_repeats_waits_for_what_was_begun_though_its_client_has_gone() {
    let cluster = without_executors().await;
    let state = cluster.directory.path().join("state");
    let in_doubt = || cluster.value(0, "paceline_store_creates_total", "unknown");
    // Nothing becomes durable as long as a directory lies there.
    let me = cluster.schedulers[0].id();
    let segment = state.join(format!("journal/{me}/{:020}", 0));
    std::fs::create_dir_all(&segment).unwrap();
    let (first, other) = (
        json!({ "sql": "SELECT 1 AS a" }),
        json!({ "sql": "SELECT 1 AS b" }),
    );
    let before = in_doubt();
    {
        let mut leaving = std::pin::pin!(cluster.post(0, QUERIES, "nightly-report", &first));
        tokio::select! {
            answer = &mut leaving => panic!("{answer:?}, and nothing is durable"),
            () = cluster.until("it to be written", || async { in_doubt() > before }) => {}
        }
    }
    let before = in_doubt();
    let mut repeating = std::pin::pin!(cluster.post(0, QUERIES, "nightly-report", &other));
    tokio::select! {
        answer = &mut repeating => panic!("{answer:?}, and nothing is durable"),
        () = cluster.until("it to be tried again", || async { in_doubt() > before }) => {}
    }
    std::fs::remove_dir(&segment).unwrap();
    let (status, text) = repeating.await;
    assert_eq!(status, 409, "{text}");
    assert!(text.contains("another statement"), "{text}");
    is_begun_once(&cluster, "SELECT 1 AS a").await;
}
