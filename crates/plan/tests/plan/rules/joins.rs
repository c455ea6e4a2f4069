//! Joins of every type, as hash, nested-loop, cross and sort-merge joins.

use paceline_plan::QueryPlan;

use super::check_all;
use crate::support::{Session, describe, fixture, with_serving_stack};

const OUTER: [&str; 4] = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"];
const SEMI: [&str; 4] = [
    "LEFT SEMI JOIN",
    "RIGHT SEMI JOIN",
    "LEFT ANTI JOIN",
    "RIGHT ANTI JOIN",
];

/// The sides of a join: which one is larger decides which one DataFusion collects.
const SIDES: [(&str, &str); 6] = [
    ("many", "few"),
    ("few", "many"),
    ("many", "single"),
    ("single", "many"),
    ("nothing", "many"),
    ("many", "nothing"),
];

/// All types of joins of all sides on `condition`.
async fn all_types(session: &Session, condition: &str) {
    let mut statements = Vec::new();
    for (left, right) in SIDES {
        for join in OUTER {
            statements.push(format!(
                "SELECT l.id, l.n, r.id, r.n FROM {left} l {join} {right} r ON {condition}"
            ));
        }
        for join in SEMI {
            let kept = if join.starts_with("LEFT") { "l" } else { "r" };
            statements.push(format!(
                "SELECT {kept}.id, {kept}.n FROM {left} l {join} {right} r ON {condition}"
            ));
        }
    }
    check_all(session, &statements).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hash_joins_of_every_type() {
    let session = fixture().await;
    all_types(&session, "l.id = r.id").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hash_joins_of_nullable_columns_with_a_filter() {
    let session = fixture().await;
    all_types(&session, "l.k = r.k AND l.n + r.n > 12").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hash_joins_where_nulls_are_equal() {
    let session = fixture().await;
    all_types(&session, "(l.n IS NOT DISTINCT FROM r.n) AND l.k = r.k").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hash_joins_that_are_never_broadcast() {
    let mut session = fixture().await;
    for limit in ["", "_rows"] {
        let name = format!("datafusion.optimizer.hash_join_single_partition_threshold{limit}");
        session.set(&name, "0").await;
    }
    all_types(&session, "l.id = r.id").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_loop_joins_of_every_type() {
    let session = fixture().await;
    all_types(&session, "l.id < r.k AND l.k > r.id").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sort_merge_joins_of_every_type() {
    let mut session = fixture().await;
    session
        .set("datafusion.optimizer.prefer_hash_join", "false")
        .await;
    all_types(&session, "l.id = r.id").await;
}

/// DataFusion has another operator for them, which it cannot encode.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_of_ranges_are_sent_whatever_is_set() {
    let mut session = fixture().await;
    let name = "datafusion.optimizer.enable_piecewise_merge_join".to_string();
    session.settings.0.insert(name, "true".to_string());
    let join = |kind: &str| format!("SELECT l.id, r.id FROM few l {kind} single r ON l.id < r.k");
    check_all(&session, &OUTER.map(join)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cross_joins() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT a.id, b.id FROM many a CROSS JOIN single b",
            "SELECT a.id, b.id FROM single a CROSS JOIN many b",
            "SELECT a.id, b.id, c.id FROM few a, single b, few c WHERE a.id + b.id + c.id = 100",
            "SELECT count(*) FROM many CROSS JOIN few",
            "SELECT count(*) FROM many CROSS JOIN nothing",
            "SELECT a.id, b.top FROM many a CROSS JOIN (SELECT max(id) AS top FROM few) b",
        ],
    )
    .await;
}

/// Joins that collect their left side.
fn collected(query: &QueryPlan) -> Vec<String> {
    let text = describe(&query.graph);
    let lines = text
        .lines()
        .filter(|line| line.contains("mode=CollectLeft"));
    lines.map(str::to_string).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_safe_joins_are_broadcast() {
    let session = fixture().await;
    let inner = "SELECT l.id, r.s FROM few l JOIN many r ON l.k = r.k";
    let inner = session.check(inner).await;
    assert_eq!(collected(&inner).len(), 1, "{}", describe(&inner.graph));
    assert!(inner.graph.root().divisible);

    // DataFusion would collect `few`, whose rows without a partner no task can tell alone.
    let unsafe_join = "SELECT l.id, r.s FROM few l LEFT JOIN many r ON l.k = r.k AND r.id > 2000";
    let unsafe_join = session.check(unsafe_join).await;
    let text = describe(&unsafe_join.graph);
    assert!(collected(&unsafe_join).is_empty(), "{text}");
    assert!(text.contains("mode=Partitioned, join_type=Left"), "{text}");
    assert!(unsafe_join.graph.root().divisible);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nested_loop_join_that_needs_all_rows_runs_as_one_task() {
    let session = fixture().await;
    let full = "SELECT l.id, r.id FROM few l FULL JOIN many r ON l.id < r.k";
    let full = session.check(full).await;
    assert!(!full.graph.root().divisible, "{}", describe(&full.graph));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_of_joins() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT a.id, b.id, c.id FROM many a JOIN few b ON a.k = b.k JOIN single c ON b.k = c.k",
            "SELECT a.s, count(*), sum(b.d) FROM many a LEFT JOIN (SELECT k, sum(d) AS d FROM many GROUP BY k) b \
             ON a.k = b.k GROUP BY a.s ORDER BY a.s",
            "SELECT a.k, b.c FROM (SELECT DISTINCT k FROM many) a JOIN grouped b ON a.k = b.k ORDER BY 1",
            "SELECT a.id, b.id FROM many a JOIN many b ON a.id = b.id + 1 WHERE a.id < 100",
            "SELECT a.id FROM many a JOIN few b ON a.id = b.id LEFT JOIN few c ON a.k = c.id \
             RIGHT JOIN single d ON d.id = a.id FULL JOIN few e ON e.id = d.id",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lateral_joins() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT a.id, b.top FROM few a CROSS JOIN LATERAL (SELECT max(id) AS top FROM many m WHERE m.k = a.k) b",
            "SELECT a.id, b.c FROM few a LEFT JOIN LATERAL (SELECT count(*) AS c FROM many m WHERE m.k = a.k) b ON true",
        ],
    )
    .await;
}

/// Far more operators above each other than there may be messages within each other.
#[test]
fn many_joins_in_one_stage() {
    with_serving_stack(|| async {
        let session = fixture().await;
        for kind in ["JOIN", "LEFT JOIN"] {
            let joins: String = (1..40)
                .map(|n| format!(" {kind} single a{n} ON a{n}.id = a{}.id", n - 1))
                .collect();
            let sql = format!("SELECT count(*), max(a39.f), min(a20.s) FROM single a0{joins}");
            session.check(&sql).await;
        }
    });
}
