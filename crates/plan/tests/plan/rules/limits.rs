//! LIMIT and OFFSET, ordered or not.

use paceline_model::ErrorClass;

use super::check_all;
use crate::support::{describe, fixture};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordered_limits() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT id FROM many ORDER BY id LIMIT 10",
            "SELECT id FROM many ORDER BY id DESC LIMIT 10 OFFSET 20",
            "SELECT id FROM many ORDER BY id OFFSET 2990",
            "SELECT id, f FROM many ORDER BY f DESC, id",
            "SELECT n, id FROM many ORDER BY n NULLS FIRST, id LIMIT 300",
            "SELECT n, id FROM many ORDER BY n DESC NULLS LAST, id DESC",
            "SELECT id FROM many ORDER BY id LIMIT 0",
            "SELECT id FROM many ORDER BY id LIMIT 5 OFFSET 5000",
            "SELECT id FROM nothing ORDER BY id LIMIT 3",
            "SELECT id FROM sorted ORDER BY id",
            "SELECT id FROM sorted ORDER BY id LIMIT 40",
            "SELECT id, k FROM sorted WHERE k = 3 ORDER BY id",
            "SELECT id FROM (SELECT id FROM many ORDER BY id LIMIT 100) WHERE id % 3 = 0 ORDER BY id DESC",
            "SELECT a.id FROM (SELECT id FROM many ORDER BY id DESC LIMIT 50) a JOIN many b ON a.id = b.id ORDER BY 1",
            "SELECT m.id FROM many m JOIN (SELECT k FROM few ORDER BY k DESC, id LIMIT 3) f ON m.k = f.k",
        ],
    )
    .await;
}

/// More than fits into 32 bits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_limits() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT id FROM few ORDER BY id LIMIT 4294967297",
            "SELECT id FROM few ORDER BY id LIMIT 4294967297 OFFSET 100",
            "SELECT id FROM few LIMIT 4294967298",
            "SELECT id FROM few LIMIT 9223372036854775807",
            "SELECT id FROM single LIMIT 4294967298 OFFSET 3000",
            "SELECT id FROM sorted ORDER BY id LIMIT 4294967298",
            "SELECT count(*) FROM (SELECT id FROM many LIMIT 4294967299)",
            "SELECT count(*) FROM (SELECT id FROM many WHERE even LIMIT 4294967299)",
            "SELECT count(*) FROM (SELECT k, count(*) FROM many GROUP BY k LIMIT 4294967299)",
            "SELECT count(*) FROM (SELECT m.id FROM many m JOIN few f ON m.k = f.k LIMIT 4294967299)",
            "SELECT count(*) FROM (SELECT id FROM many UNION ALL SELECT id FROM few LIMIT 4294967299)",
            "SELECT count(*) FROM (SELECT value FROM generate_series(1, 10) LIMIT 4294967299)",
        ],
    )
    .await;
    for sql in [
        "SELECT id FROM many OFFSET 4294967296",
        "SELECT id FROM many ORDER BY id LIMIT 3 OFFSET 4294967296",
    ] {
        let refused = session.plan(sql).await.unwrap_err();
        assert_eq!(refused.class, ErrorClass::Unsupported, "{sql}: {refused}");
        assert!(refused.message.contains("4294967296"), "{sql}: {refused}");
    }
}

/// Any rows will do, but exactly so many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_any_rows() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT count(*) FROM (SELECT id FROM many LIMIT 10)",
            "SELECT count(*) FROM (SELECT id FROM many LIMIT 10 OFFSET 2995)",
            "SELECT count(*) FROM (SELECT id FROM many OFFSET 17)",
            "SELECT count(*) FROM (SELECT k FROM many WHERE even LIMIT 700)",
            "SELECT count(*) FROM (SELECT k, count(*) FROM many GROUP BY k LIMIT 13)",
            "SELECT count(*) FROM (SELECT m.id FROM many m JOIN few f ON m.k = f.k LIMIT 57)",
            "SELECT count(*) FROM (SELECT id FROM many UNION ALL SELECT id FROM few LIMIT 57)",
            "SELECT count(*) FROM (SELECT DISTINCT s FROM many LIMIT 3)",
            "SELECT count(*) FROM many a CROSS JOIN (SELECT id FROM few LIMIT 3) b",
        ],
    )
    .await;
}

/// Every task sees the same three rows, although any three would do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_picked_once_are_the_same_for_all_tasks() {
    let session = fixture().await;
    for sql in [
        "SELECT count(DISTINCT b.id) FROM many a CROSS JOIN (SELECT id FROM few LIMIT 3) b",
        "SELECT count(DISTINCT b.r) FROM many a CROSS JOIN (SELECT random() AS r FROM single LIMIT 1) b",
        "SELECT count(DISTINCT b.r) FROM many a CROSS JOIN (SELECT max(id + random()) AS r FROM few) b",
    ] {
        session.check(sql).await;
    }
}

/// A limit above a gather is kept below it as well, so that no task leaves more than is wanted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_stop_work_early() {
    let session = fixture().await;
    for (sql, most) in [
        ("SELECT id FROM many LIMIT 10", 10),
        ("SELECT id FROM many WHERE even LIMIT 10 OFFSET 5", 15),
        (
            "SELECT m.id FROM many m JOIN few f ON m.k = f.k LIMIT 10",
            10,
        ),
        ("SELECT id FROM many ORDER BY f DESC LIMIT 10", 10),
        ("SELECT k, count(*) FROM many GROUP BY k LIMIT 10", 10),
    ] {
        let query = session.staged(sql).await;
        let ran = session.run(&query, 3).await.unwrap();
        let root = query.graph.len() - 1;
        assert!(root > 0, "{sql} has one stage");
        assert_eq!(ran.rows(root), 10, "{sql}");
        let partitions = u64::from(query.graph.stages()[root - 1].partitions);
        let gathered = ran.rows(root - 1);
        assert!(
            gathered <= most * partitions,
            "{sql} gathers {gathered} rows\n{}",
            describe(&query.graph)
        );
    }
}
