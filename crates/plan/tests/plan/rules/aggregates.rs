//! Aggregation in one and in two steps.

use paceline_model::ExchangeKind;

use super::check_all;
use crate::support::{describe, fixture};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_meet_by_hash() {
    let session = fixture().await;
    let query = session
        .check("SELECT k, count(*), sum(d) FROM many GROUP BY k")
        .await;
    let stages = query.graph.stages();
    assert_eq!(stages.len(), 2, "{}", describe(&query.graph));
    assert_eq!(stages[0].exchange, ExchangeKind::Hash { partitions: 6 });
    assert!(stages[0].divisible && stages[1].divisible);
    assert!(!stages[1].inputs[0].whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grouped_and_not() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT count(*) FROM many",
            "SELECT count(*) FROM nothing",
            "SELECT count(*), sum(id), avg(f), min(s), max(day), stddev(f) FROM many WHERE k > 3",
            "SELECT sum(id), avg(f), min(s) FROM nothing",
            "SELECT k, sum(id) FROM nothing GROUP BY k",
            "SELECT n, count(*), count(n), sum(f), avg(d), var_pop(f), corr(f, id) FROM many GROUP BY n ORDER BY n",
            "SELECT dict, count(*) FROM many GROUP BY dict ORDER BY dict",
            "SELECT s, k, even, count(*) FROM many GROUP BY s, k, even",
            "SELECT k % 3, max(c) FROM (SELECT k, count(*) AS c FROM many GROUP BY k) GROUP BY k % 3 ORDER BY 1",
            "SELECT bool_and(even), bit_xor(id), median(k), approx_distinct(s) FROM many",
            "SELECT k, percentile_cont(0.5) WITHIN GROUP (ORDER BY f) FROM many GROUP BY k",
            "SELECT count(*) FILTER (WHERE even), sum(id) FILTER (WHERE k > 90) FROM many",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distinct() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT DISTINCT n FROM many",
            "SELECT DISTINCT s, n FROM many ORDER BY s, n",
            "SELECT count(DISTINCT n), count(DISTINCT s), sum(DISTINCT k) FROM many",
            "SELECT k, count(DISTINCT n) FROM many GROUP BY k ORDER BY k",
            "SELECT k, count(DISTINCT n), sum(id), avg(DISTINCT f) FROM many GROUP BY k ORDER BY k",
            "SELECT DISTINCT ON (k) k, id FROM many ORDER BY k, id DESC",
            "SELECT DISTINCT ON (s) s, k, id FROM many ORDER BY s, k DESC, id",
            "SELECT k, first_value(id ORDER BY id DESC), last_value(s ORDER BY id DESC) FROM many GROUP BY k",
            "SELECT k, array_agg(id ORDER BY id), string_agg(s, ',' ORDER BY id) FROM many GROUP BY k",
            "SELECT first_value(id ORDER BY f DESC), nth_value(id, 3 ORDER BY id) FROM many",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grouping_sets() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT s, n, count(*), grouping(s), grouping(n) FROM many GROUP BY ROLLUP (s, n)",
            "SELECT s, even, sum(d) FROM many GROUP BY CUBE (s, even)",
            "SELECT s, k, sum(id) FROM many GROUP BY GROUPING SETS ((s), (k), ())",
            "SELECT s, k, sum(id) FROM nothing GROUP BY GROUPING SETS ((s), (k), ())",
            "SELECT count(*) FROM nothing GROUP BY ROLLUP (s)",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_are_wanted_in_order() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT k, max(id) AS top FROM many GROUP BY k ORDER BY top DESC LIMIT 7",
            "SELECT k, min(id) AS top FROM many GROUP BY k ORDER BY top LIMIT 7",
            "SELECT DISTINCT k FROM many ORDER BY k LIMIT 5",
            "SELECT k, s, count(*) FROM many GROUP BY k, s ORDER BY k, s LIMIT 10",
        ],
    )
    .await;
}
