//! Window functions with and without partitions of their own.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use paceline_model::{ByteSize, ErrorClass};
use paceline_plan::Planned;

use super::check_all;
use crate::support::{describe, fixture};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitioned_windows_stay_divided() {
    let session = fixture().await;
    let sql = "SELECT id, k, row_number() OVER (PARTITION BY k ORDER BY id) FROM many";
    let query = session.check(sql).await;
    let root = query.graph.root();
    assert!(
        root.divisible && root.partitions == 6,
        "{}",
        describe(&query.graph)
    );
    check_all(
        &session,
        &[
            "SELECT id, sum(d) OVER (PARTITION BY s ORDER BY id), avg(f) OVER (PARTITION BY n) FROM many",
            "SELECT id, lag(id, 2) OVER (PARTITION BY k ORDER BY id), lead(s) OVER (PARTITION BY k ORDER BY id) FROM many",
            "SELECT id, first_value(id) OVER w, last_value(id) OVER w, nth_value(id, 2) OVER w FROM many \
             WINDOW w AS (PARTITION BY s ORDER BY id ROWS BETWEEN 3 PRECEDING AND 2 FOLLOWING)",
            "SELECT id, ntile(4) OVER (PARTITION BY s ORDER BY id), cume_dist() OVER (PARTITION BY s ORDER BY id), \
             percent_rank() OVER (PARTITION BY s ORDER BY id) FROM many",
            "SELECT k, c, rank() OVER (PARTITION BY c ORDER BY k) FROM grouped",
            "SELECT * FROM (SELECT id, s, row_number() OVER (PARTITION BY s ORDER BY id DESC) AS r FROM many) WHERE r <= 3",
            "SELECT id, max(id) OVER (PARTITION BY day ORDER BY at RANGE BETWEEN INTERVAL '5' SECOND PRECEDING AND CURRENT ROW) FROM many",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_over_everything() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT id, row_number() OVER (ORDER BY id) FROM many",
            "SELECT id, sum(d) OVER (ORDER BY id), count(*) OVER () FROM many",
            "SELECT id, rank() OVER (ORDER BY k), dense_rank() OVER (ORDER BY k DESC) FROM many ORDER BY id LIMIT 30",
            "SELECT sum(r) FROM (SELECT row_number() OVER () AS r FROM many)",
            "SELECT id, sum(id) OVER (PARTITION BY k ORDER BY id), sum(id) OVER (ORDER BY id) FROM many",
            "SELECT id, row_number() OVER (ORDER BY id) FROM nothing",
            "SELECT id, avg(id) OVER (PARTITION BY k) FROM nothing",
            "SELECT id, row_number() OVER (PARTITION BY s ORDER BY id) FROM single",
        ],
    )
    .await;
}

/// One input partition keeps its order through a repartitioning; nothing sorts again above it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_over_what_is_sorted_already() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT id, k, row_number() OVER (PARTITION BY k ORDER BY id) FROM (SELECT * FROM many ORDER BY id LIMIT 2000)",
            "SELECT k, id, lag(id) OVER (PARTITION BY k ORDER BY id) FROM (SELECT * FROM few ORDER BY k, id LIMIT 100)",
            "SELECT k, sum(r) FROM (SELECT k, row_number() OVER (ORDER BY id) AS r FROM many) GROUP BY k",
            "SELECT id, k, row_number() OVER (PARTITION BY k ORDER BY id) FROM sorted",
            "SELECT k, array_agg(id ORDER BY id) FROM (SELECT k, id FROM many ORDER BY id LIMIT 500) GROUP BY k",
        ],
    )
    .await;
}

/// DataFusion itself counts as many rows as the limit lets through, so the answers are written here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_see_all_rows_whatever_the_limit_above_them() {
    let session = fixture().await;
    for (window, value) in [("count(*) OVER ()", 2103), ("max(id) OVER ()", 1700)] {
        let sql = format!("SELECT {window} AS x FROM sorted ORDER BY id LIMIT 3");
        let staged = session.staged(&sql).await;
        let whole = ByteSize::mib(1 << 20);
        let Ok(Planned::Query(single)) = session.plan_for(&sql, whole, &[4]).await else {
            panic!("{sql} is a query");
        };
        for (query, tasks) in [(&staged, 1), (&staged, 3), (&staged, 5), (&single, 1)] {
            let ran = session.run(query, tasks).await.unwrap();
            let rows = ran.batches.iter().flat_map(|batch| {
                let column = batch.column(0).as_primitive::<Int64Type>();
                column.values().to_vec()
            });
            let rows: Vec<i64> = rows.collect();
            let text = describe(&query.graph);
            assert_eq!(rows, [value; 3], "in {tasks} tasks: {sql}\n{text}");
        }
    }
}

/// A window whose order is the reverse of one that is there makes DataFusion turn the function round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_that_want_opposite_orders() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT id, row_number() OVER (ORDER BY id), lag(id) OVER (ORDER BY id DESC) FROM few",
            "SELECT id, row_number() OVER (ORDER BY id), lead(n, 2, -1) OVER (ORDER BY id DESC) FROM few",
            "SELECT id, lag(n) OVER (ORDER BY id), row_number() OVER (ORDER BY id DESC) FROM few",
            "SELECT id, lead(n) OVER (ORDER BY id), row_number() OVER (ORDER BY id DESC) FROM few",
            "SELECT id, nth_value(n, 2) OVER (ORDER BY id), row_number() OVER (ORDER BY id DESC) FROM few",
            "SELECT id, lag(n) IGNORE NULLS OVER (ORDER BY id), row_number() OVER (ORDER BY id DESC) FROM few",
            "SELECT id, first_value(n) OVER (ORDER BY id DESC), row_number() OVER (ORDER BY id) FROM few",
            "SELECT id, row_number() OVER (PARTITION BY k ORDER BY id), lag(id) OVER (PARTITION BY k ORDER BY id DESC) FROM many",
            "SELECT id, lag(id) OVER (ORDER BY id DESC) FROM sorted",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_that_ignore_nulls() {
    let session = fixture().await;
    let functions = [
        "first_value(n)",
        "last_value(n)",
        "nth_value(n, 2)",
        "lag(n)",
        "lead(n)",
    ];
    let windows = [
        "ORDER BY id",
        "PARTITION BY k ORDER BY id",
        "ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
        "PARTITION BY s ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
    ];
    let statements: Vec<String> = functions
        .iter()
        .flat_map(|function| {
            windows.map(|window| {
                format!("SELECT id, {function} IGNORE NULLS OVER ({window}) FROM few")
            })
        })
        .collect();
    check_all(&session, &statements).await;
    check_all(
        &session,
        &[
            "SELECT id, last_value(n) IGNORE NULLS OVER (ORDER BY id) FROM few WHERE id IN (10, 11, 12)",
            "SELECT id, lag(n) IGNORE NULLS OVER (ORDER BY id), lag(n) OVER (ORDER BY id) FROM few",
            "SELECT id FROM few WHERE id IN (SELECT last_value(n) IGNORE NULLS OVER (ORDER BY id) FROM few)",
            "SELECT sum(v) FROM (SELECT last_value(n) IGNORE NULLS OVER (ORDER BY id) AS v FROM few)",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_over_some_rows() {
    let session = fixture().await;
    let functions = [
        "count(*)", "count(n)", "sum(id)", "avg(f)", "min(id)", "max(s)",
    ];
    let windows = [
        "",
        "PARTITION BY k",
        "ORDER BY id",
        "PARTITION BY s ORDER BY id ROWS BETWEEN 3 PRECEDING AND 1 FOLLOWING",
    ];
    let statements: Vec<String> = functions
        .iter()
        .flat_map(|function| {
            windows.map(|window| {
                format!("SELECT id, {function} FILTER (WHERE n > 3) OVER ({window}) FROM few")
            })
        })
        .collect();
    check_all(&session, &statements).await;
    check_all(
        &session,
        &[
            "SELECT sum(id) FILTER (WHERE n > 3) OVER () AS x, sum(id) OVER () FROM few",
            "SELECT id, sum(x) FROM (SELECT id, count(*) FILTER (WHERE even) OVER (PARTITION BY k) AS x FROM many) GROUP BY id",
        ],
    )
    .await;
    let sql = "SELECT array_agg(id) FILTER (WHERE n > 3) OVER (ORDER BY id) FROM few";
    let refused = session.plan(sql).await.unwrap_err();
    assert_eq!(refused.class, ErrorClass::Unsupported, "{refused}");
    assert!(refused.message.contains("array_agg"), "{refused}");
}
