//! Queries from a client to executors and back.

use std::time::Duration;

use crate::flight::{flight, rows};
use crate::support::{Cluster, lines, reference, sorted};

const STATEMENTS: [&str; 6] = [
    "SELECT count(*) AS n, sum(id) AS s FROM t",
    "SELECT grp, count(*) AS n, sum(value) AS v FROM t GROUP BY grp",
    "SELECT name, max(id) AS m FROM t GROUP BY name ORDER BY m DESC LIMIT 5",
    "SELECT a.grp, count(*) AS n FROM t a JOIN t b ON a.id = b.id WHERE b.grp < 3 GROUP BY a.grp",
    "SELECT id FROM t WHERE value > 4990.0 ORDER BY id",
    "SELECT * FROM t WHERE id % 1000 = 3",
];

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_one_process() {
    let cluster = Cluster::start(1, 2).await;
    let directory = cluster.make_table("t", 10_000).await;
    for sql in STATEMENTS {
        let rows = cluster.sql(0, sql).await.unwrap();
        assert_eq!(sorted(rows), reference("t", &directory, sql).await, "{sql}");
    }
    let queries = cluster.get(0, "/v1/queries").await;
    let stages = queries
        .as_array()
        .or(queries["queries"].as_array())
        .unwrap()
        .iter();
    let most = stages
        .map(|q| q["stages"].as_array().map_or(0, Vec::len))
        .max();
    assert!(most > Some(1), "no query was cut into stages: {queries}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_is_read_from_executors() {
    let cluster = Cluster::start_with(1, 2, |options| {
        options.inline_limit = paceline_model::ByteSize(1000);
    })
    .await;
    let directory = cluster.make_table("t", 50_000).await;
    let sql = "SELECT * FROM t";
    let rows = cluster.sql(0, sql).await.unwrap();
    assert_eq!(rows.len(), 50_000);
    assert_eq!(sorted(rows), reference("t", &directory, sql).await);
}

/// Far more than the messages of the protocols carry unless they are told to.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_ten_megabytes_is_journaled_and_run() {
    const VALUES: i64 = 500_000;
    const OTHERS: i64 = 1_000_000_000_000;
    let cluster = Cluster::start(1, 2).await;
    cluster.make_table("t", 1000).await;
    let value = |n| if n < 500 { n * 2 } else { OTHERS + n };
    let values = (0..VALUES).map(|n| value(n).to_string());
    let values = values.collect::<Vec<_>>().join(",");
    let mut client = flight(&cluster, 0).await;
    // So that the journal has it before anything else happens.
    client.set_header("idempotency-key", "k");
    let sql = format!("SELECT count(*) AS n FROM t WHERE id IN ({values})");
    let info = client.execute(sql, None).await.unwrap();
    let written = cluster.value(0, "paceline_journal_size_bytes", "");
    assert!(written > f64::from(10 << 20), "{written}");
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let read = rows(&mut client, ticket).await;
    assert_eq!(lines(&read), [r#"{"n":500}"#]);
    let query = String::from_utf8(info.app_metadata.to_vec()).unwrap();
    let report = cluster.finished(0, &query).await;
    for stage in report["stages"].as_array().unwrap() {
        assert_eq!(
            stage["attempts"], stage["tasks"],
            "stage {}",
            stage["stage"]
        );
    }
    assert_eq!(cluster.value(0, "paceline_executors_lost_total", ""), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_executor_a_query_waits_and_then_says_so() {
    let cluster = Cluster::start(1, 0).await;
    let (class, message) = cluster.sql(0, "SELECT 1").await.unwrap_err();
    assert_eq!(class, "unavailable");
    assert!(message.contains("executor"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_comes_in_time_runs_what_waited() {
    let mut cluster = Cluster::start_with(1, 0, |options| {
        options.no_executor_grace = std::time::Duration::from_secs(60);
    })
    .await;
    let first = cluster.schedulers[0].addresses().http.clone();
    let waiting = tokio::spawn(async move {
        let client = reqwest::Client::new();
        let request = client
            .post(format!("http://{first}/v1/sql"))
            .body("SELECT 41 + 1 AS a");
        let response = request
            .header("content-type", "text/plain")
            .send()
            .await
            .unwrap();
        response.text().await.unwrap()
    });
    cluster
        .until("the query to wait", || async {
            cluster.get(0, "/v1/status").await["queries_running"] == 1
        })
        .await;
    cluster.add_executor().await;
    assert!(waiting.await.unwrap().contains("42"));
}

#[tokio::test(flavor = "multi_thread")]
async fn user_errors_fail_at_once_and_name_what_is_wrong() {
    let cluster = Cluster::start(1, 1).await;
    cluster.make_table("t", 100).await;
    for (sql, word) in [
        ("SELEC 1", "SELEC"),
        ("SELECT nothing FROM t", "nothing"),
        ("SELECT * FROM missing", "missing"),
        ("SELECT 1 / (id - id) FROM t", "ivide"),
        ("SELECT CAST(name AS INT) FROM t", "Int32"),
        ("", "statement"),
    ] {
        let (class, message) = cluster.sql(0, sql).await.unwrap_err();
        assert_eq!(class, "user", "{sql}: {message}");
        assert!(message.contains(word), "{sql}: {message}");
    }
    let all = cluster.get(0, "/v1/queries").await;
    let queries = all["queries"].as_array().unwrap();
    let mut stages = queries
        .iter()
        .flat_map(|query| query["stages"].as_array().unwrap())
        .peekable();
    assert!(stages.peek().is_some(), "{all}");
    for stage in stages {
        let [attempts, tasks] = ["attempts", "tasks"].map(|name| stage[name].as_u64().unwrap());
        assert!(attempts <= tasks, "a user error was retried: {all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_stages_and_analyze_their_metrics() {
    let cluster = Cluster::start(1, 2).await;
    cluster.make_table("t", 10_000).await;
    let query = "SELECT grp, count(*) FROM t GROUP BY grp ORDER BY grp";
    let rows = cluster.sql(0, &format!("EXPLAIN {query}")).await.unwrap();
    let text = rows.iter().map(ToString::to_string).collect::<String>();
    assert!(
        text.contains("stage 2") && text.contains("ExchangeReadExec"),
        "{text}"
    );
    let rows = cluster
        .sql(0, &format!("EXPLAIN ANALYZE {query}"))
        .await
        .unwrap();
    let text = rows.iter().map(ToString::to_string).collect::<String>();
    assert!(text.contains("output_rows=10000"), "{text}");
    assert!(text.contains("output_rows=7"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_go_on_with_the_executors_that_are_left() {
    let mut cluster = Cluster::start_with(1, 3, |options| {
        options.inline_limit = paceline_model::ByteSize(0);
    })
    .await;
    let directory = cluster.make_table("t", 20_000).await;
    let sql = "SELECT name, count(*) AS n FROM t GROUP BY name";
    let before = reference("t", &directory, sql).await;
    for _ in 0..2 {
        assert_eq!(sorted(cluster.sql(0, sql).await.unwrap()), before);
        drop(cluster.executors.pop());
    }
    assert_eq!(sorted(cluster.sql(0, sql).await.unwrap()), before);
    cluster
        .until("the loss to be noticed", || async {
            let status = cluster.get(0, "/v1/status").await;
            status["executors"].as_array().map(Vec::len) == Some(1)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_whose_result_is_gone_is_refused_and_not_run_again() {
    let cluster = Cluster::start_with(1, 1, |options| options.result_ttl = Duration::ZERO).await;
    cluster.make_table("t", 100).await;
    let sql = "SELECT count(*) AS n FROM t";
    let (status, text) = cluster.named(0, sql, "once").await;
    assert_eq!(status, 200, "{text}");
    let gone = || async {
        let (status, text) = cluster.named(0, sql, "once").await;
        assert!(status == 200 || text.contains("is gone"), "{status} {text}");
        status != 200
    };
    cluster.until("the result to be gone", gone).await;
}
