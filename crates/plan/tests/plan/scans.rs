//! What a stage reads, and how much that is thought to be.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use paceline_model::ByteSize;
use paceline_plan::{Planned, QueryPlan};

use crate::support::{SLOTS, Session};
use crate::tpch::tables;

fn scanned(plan: &QueryPlan) -> u64 {
    plan.graph
        .stages()
        .iter()
        .map(|stage| stage.scan_bytes)
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_columns_that_are_read_count() {
    let session = tables().await;
    let all = scanned(&session.staged("SELECT * FROM lineitem").await);
    let long = scanned(
        &session
            .staged("SELECT max(length(l_comment)) FROM lineitem")
            .await,
    );
    let short = scanned(
        &session
            .staged("SELECT max(length(l_linestatus)) FROM lineitem")
            .await,
    );
    assert!(long < all / 2, "{long} of {all}");
    assert!(0 < short && short < long / 4, "{short} and {long} of {all}");
    // A filter's columns are read as well.
    let sql = "SELECT max(length(l_linestatus)) FROM lineitem WHERE l_comment LIKE '%furious%'";
    let both = scanned(&session.staged(sql).await);
    assert!(long <= both && both < all, "{long}, {both}, {all}");
}

/// What `SELECT count(*)` over `t` answers now, planned as one task.
async fn counted(session: &Session) -> i64 {
    let planned = session.plan_for("SELECT count(*) FROM t", ByteSize::mib(1), &SLOTS);
    let Ok(Planned::Query(query)) = planned.await else {
        panic!("a count is run by executors");
    };
    let ran = session.run(&query, 1).await.unwrap();
    ran.batches[0]
        .column(0)
        .as_primitive::<Int64Type>()
        .value(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_statement_sees_the_files_that_are_there_when_it_is_planned() {
    let mut session = Session::new().await;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display().to_string();
    let files = [1, 10, 100].map(|rows| (rows, format!("{root}/{rows}.csv")));
    let write = |(rows, path): &(i64, String)| {
        let lines = (0..*rows).map(|row| format!("{row}\n"));
        std::fs::write(path, "id\n".to_string() + &lines.collect::<String>()).unwrap();
    };
    write(&files[0]);
    let create = format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{root}/'");
    session.change_here(&create).await;
    assert_eq!(counted(&session).await, 1);
    write(&files[1]);
    assert_eq!(counted(&session).await, 11);
    write(&files[2]);
    std::fs::remove_file(&files[0].1).unwrap();
    assert_eq!(counted(&session).await, 110);
}

/// Writers leave checksums, markers and notes beside what they wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_beside_the_files_of_a_table_is_none_of_them() {
    let mut session = Session::new().await;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display().to_string();
    for format in ["csv", "parquet", "json", "arrow"] {
        let copy = format!(
            "COPY (SELECT value AS id, 'x' AS name FROM generate_series(1, 5)) \
             TO '{root}/{format}/part-0.{format}' STORED AS {format}"
        );
        session.reference.run(&copy).await.unwrap();
        for beside in [".part-0.crc", "_SUCCESS", "README.md", "part-0.bak"] {
            let beside = format!("{root}/{format}/{beside}");
            std::fs::write(beside, "id,name\n1,x\n").unwrap();
        }
        let create = format!(
            "CREATE EXTERNAL TABLE t_{format} STORED AS {format} LOCATION '{root}/{format}/'"
        );
        session.change(&create).await;
        session
            .check(&format!("SELECT count(*), sum(id) FROM t_{format}"))
            .await;
        session
            .check(&format!("SELECT id, name FROM t_{format}"))
            .await;
    }
}

/// The directories say which columns they are, if the statement does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_were_found_are_known_from_then_on() {
    let mut session = Session::new().await;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display().to_string();
    let copy = format!(
        "COPY (SELECT value AS id, value % 3 AS third FROM generate_series(1, 50)) \
         TO '{root}/t/' STORED AS PARQUET PARTITIONED BY (third)"
    );
    session.reference.run(&copy).await.unwrap();
    let create = format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{root}/t/'");
    session.change(&create).await;
    for sql in [
        "SELECT id, third FROM t",
        "SELECT third, count(*) FROM t GROUP BY third",
        "SELECT sum(id) FROM t WHERE third = '2'",
    ] {
        session.check(sql).await;
    }
}
