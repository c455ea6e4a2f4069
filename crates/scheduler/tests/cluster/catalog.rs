//! Tables and views, seen by several schedulers.

use std::time::Duration;

use paceline_scheduler::{ConfiguredTable, Scheduler, StartError};
use prometheus::Registry;

use crate::flight::{flight, rows, rows_of, started};
use crate::support::{Cluster, scheduler_options};

#[tokio::test(flavor = "multi_thread")]
async fn what_one_scheduler_creates_the_other_knows_in_its_next_statement() {
    let cluster = Cluster::start(2, 1).await;
    cluster.make_table("t", 100).await;
    let count = cluster.sql(1, "SELECT count(*) AS n FROM t").await.unwrap();
    assert_eq!(count[0]["n"], 100);
    cluster
        .sql(1, "CREATE VIEW v AS SELECT id FROM t WHERE id < 10")
        .await
        .unwrap();
    let count = cluster.sql(0, "SELECT count(*) AS n FROM v").await.unwrap();
    assert_eq!(count[0]["n"], 10);
    let tables = cluster
        .sql(
            0,
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
        )
        .await
        .unwrap();
    assert_eq!(tables.len(), 2, "{tables:?}");
    cluster.sql(0, "DROP VIEW v").await.unwrap();
    cluster.sql(0, "DROP TABLE t").await.unwrap();
    let (class, _) = cluster.sql(1, "SELECT * FROM t").await.unwrap_err();
    assert_eq!(class, "user");
    cluster.sql(1, "DROP TABLE IF EXISTS t").await.unwrap();
    let (_, message) = cluster.sql(1, "DROP TABLE t").await.unwrap_err();
    assert!(message.contains('t'), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_read_through_any_scheduler() {
    let cluster = Cluster::start(2, 2).await;
    cluster.make_table("t", 5000).await;
    let mut first = flight(&cluster, 0).await;
    let mut second = flight(&cluster, 1).await;
    for sql in ["SELECT * FROM t", "SELECT count(*) FROM t"] {
        let ticket = started(&mut first, sql).await;
        let answer = rows_of(&rows(&mut first, ticket.clone()).await);
        assert_eq!(answer, rows_of(&rows(&mut second, ticket.clone()).await));
        // And again from the start, from the owner.
        assert_eq!(answer, rows_of(&rows(&mut first, ticket).await));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_tables_are_made_once_and_replaced_when_they_change() {
    let cluster = Cluster::start(1, 1).await;
    let directory = cluster.make_table("t", 100).await;
    let table = |file: &str| ConfiguredTable {
        name: "c".to_string(),
        sql: format!(
            "CREATE EXTERNAL TABLE c STORED AS PARQUET LOCATION '{}/{file}'",
            directory.display()
        ),
    };
    let state = cluster.directory.path().join("state");
    for (file, rows, version) in [("0.parquet", 25, 2), ("0.parquet", 25, 2), ("", 100, 3)] {
        let mut options = scheduler_options(&state);
        options.tables = vec![table(file)];
        let extra = Scheduler::start(options, &Registry::new()).await.unwrap();
        let count = cluster.sql(0, "SELECT count(*) AS n FROM c").await.unwrap();
        assert_eq!(count[0]["n"], rows);
        assert_eq!(cluster.get(0, "/v1/status").await["catalog"], version);
        extra.stop().await;
    }
}

/// What it was planned with may be gone by then, and who planned it as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_under_a_name_is_told_again_without_who_made_it() {
    let cluster = Cluster::start(2, 1).await;
    let files = cluster.directory.path().join("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("a.csv"), "a\n1\n").unwrap();
    let create = |name: &str| {
        let location = files.display();
        format!("CREATE EXTERNAL TABLE {name} STORED AS CSV LOCATION '{location}/'")
    };
    let (status, text) = cluster.named(0, &create("c"), "key").await;
    assert_eq!(status, 200, "{text}");
    let write = "CREATE TABLE w AS SELECT 1 AS a";
    let (status, written) = cluster.named(0, write, "write").await;
    assert_eq!(status, 200, "{written}");
    cluster.schedulers[0].drain(Duration::from_secs(5)).await;
    std::fs::remove_dir_all(&files).unwrap();
    let (status, text) = cluster.named(1, &create("d"), "other").await;
    assert_ne!(status, 200, "it can still be planned: {text}");
    let (status, text) = cluster.named(1, &create("c"), "key").await;
    assert_eq!(status, 200, "{text}");
    let (status, text) = cluster.named(1, &create("d"), "key").await;
    assert_eq!(status, 409, "{text}");
    let again = cluster.named(1, write, "write").await;
    assert_eq!(again, (200, written));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_by_any_scheduler_when_the_one_that_made_it_is_gone() {
    let cluster = Cluster::start(2, 1).await;
    let mut first = flight(&cluster, 0).await;
    let ticket = started(&mut first, "CREATE VIEW v AS SELECT 1 AS a").await;
    cluster.schedulers[0].drain(Duration::from_secs(5)).await;
    let mut second = flight(&cluster, 1).await;
    assert_eq!(rows(&mut second, ticket).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_cannot_start_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = scheduler_options(directory.path());
    options.bind_http = taken.local_addr().unwrap();
    let error = Scheduler::start(options, &Registry::new())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            StartError::Listen {
                purpose: "HTTP",
                ..
            }
        ),
        "{error}"
    );

    let mut options = scheduler_options(directory.path());
    options.bind_cluster = ([0, 0, 0, 0], 0).into();
    let error = Scheduler::start(options, &Registry::new())
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::Advertise { .. }), "{error}");

    let mut options = scheduler_options(directory.path());
    options.state = "nonsense://here".to_string();
    let error = Scheduler::start(options, &Registry::new())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("nonsense"), "{error}");

    let mut options = scheduler_options(directory.path());
    options.tables = vec![ConfiguredTable {
        name: "broken".to_string(),
        sql: "CREATE EXTERNAL TABLE broken STORED AS PARQUET LOCATION '/nowhere/'".to_string(),
    }];
    let error = Scheduler::start(options, &Registry::new())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("broken"), "{error}");
}
