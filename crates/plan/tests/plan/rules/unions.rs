//! Unions: every branch's rows once, however many tasks there are.

use super::check_all;
use crate::support::{describe, fixture};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_do_not_multiply_rows() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT id FROM many UNION ALL SELECT id FROM few",
            "SELECT id FROM many UNION ALL SELECT id FROM single UNION ALL SELECT id FROM few",
            "SELECT id FROM many UNION SELECT id FROM few",
            "SELECT id FROM single UNION ALL SELECT 7 UNION ALL SELECT id FROM many",
            "SELECT id FROM many UNION ALL SELECT id FROM nothing",
            "SELECT id FROM nothing UNION ALL SELECT id FROM many WHERE false",
            "SELECT id FROM many UNION ALL SELECT id FROM few WHERE 1 = 0",
            "SELECT id FROM many UNION ALL VALUES (1), (2)",
            "SELECT id FROM many INTERSECT SELECT id FROM few",
            "SELECT id FROM few EXCEPT SELECT id FROM many WHERE even",
            "SELECT k FROM many EXCEPT ALL SELECT k FROM few",
            "SELECT k FROM many INTERSECT ALL SELECT k FROM few",
            "SELECT id, s FROM many UNION ALL BY NAME SELECT s, id, n FROM few",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_of_every_shape() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT m.id FROM many m JOIN few f ON m.k = f.k UNION ALL SELECT id FROM single",
            "SELECT m.id FROM few f JOIN many m ON m.k = f.k UNION ALL \
             SELECT m.id FROM many m LEFT JOIN few f ON m.id = f.id UNION ALL SELECT count(*) FROM many",
            "SELECT k, count(*) FROM many GROUP BY k UNION ALL SELECT k, count(*) FROM few GROUP BY k",
            "SELECT k, sum(c) FROM (SELECT k, count(*) AS c FROM many GROUP BY k UNION ALL \
             SELECT id AS k, 1 FROM few) GROUP BY k ORDER BY k",
            "(SELECT id FROM many ORDER BY id LIMIT 5) UNION ALL (SELECT id FROM few ORDER BY id DESC LIMIT 5)",
            "SELECT id FROM (SELECT id FROM many UNION ALL SELECT id FROM few) WHERE id < 20 ORDER BY id",
            "SELECT id, row_number() OVER (ORDER BY id) AS r FROM many UNION ALL SELECT id, 0 FROM few",
            "SELECT max(id) FROM many UNION ALL SELECT min(id) FROM many UNION ALL SELECT count(*) FROM nothing",
            "SELECT a.id FROM many a, (SELECT max(id) AS m FROM few) b WHERE a.id < b.m UNION ALL SELECT id FROM few",
            "SELECT a.id FROM (SELECT id FROM many UNION ALL SELECT id FROM few) a \
             JOIN (SELECT id FROM few UNION ALL SELECT id FROM single) b ON a.id = b.id",
            "SELECT a.id FROM (SELECT id FROM few UNION ALL SELECT id FROM single) a \
             LEFT JOIN many b ON a.id = b.id AND b.even",
            "SELECT id FROM many WHERE id NOT IN (SELECT n FROM few WHERE n IS NOT NULL) UNION ALL SELECT id FROM few",
            "SELECT l.id FROM few l FULL JOIN many r ON l.id < r.k UNION ALL SELECT id FROM many",
            "SELECT count(*), sum(id) FROM (SELECT id FROM many UNION ALL SELECT id FROM many)",
            // One value of `s` in each branch, so that sorting those takes no more than the other key.
            "SELECT id, s, max(k) FROM many WHERE s = 'name 2' GROUP BY id, s UNION ALL \
             SELECT id, NULL, max(k) FROM few GROUP BY id ORDER BY id, s LIMIT 20",
        ],
    )
    .await;
}

/// Branches that are divided in the same way stay side by side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_in_step() {
    let session = fixture().await;
    let sql = "SELECT k, sum(c) FROM (SELECT k, count(*) AS c FROM many GROUP BY k UNION ALL \
               SELECT k, count(*) AS c FROM few GROUP BY k) GROUP BY k";
    let query = session.check(sql).await;
    let text = describe(&query.graph);
    assert!(text.contains("InterleaveExec"), "{text}");
}
