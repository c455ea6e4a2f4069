//! Scalar, EXISTS, IN and NOT IN subqueries.

use paceline_model::ErrorClass;
use paceline_plan::Planned;

use super::check_all;
use crate::support::{describe, fixture};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scalar_subqueries() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT id, (SELECT max(id) FROM few) FROM many WHERE id > (SELECT avg(id) FROM many)",
            "SELECT id, (SELECT max(id) FROM nothing) FROM few",
            "SELECT id, (SELECT n FROM nothing) AS none FROM few",
            "SELECT (SELECT count(*) FROM many), (SELECT max(d) FROM few)",
            "SELECT id FROM many m WHERE d > (SELECT avg(d) FROM many x WHERE x.k = m.k)",
            "SELECT id, (SELECT count(*) FROM few f WHERE f.k = m.k) FROM many m",
            "SELECT k, sum(d) FROM many GROUP BY k HAVING sum(d) > (SELECT avg(total) FROM grouped) ORDER BY k",
            "SELECT id, CASE WHEN (SELECT count(*) FROM few) > 100 THEN id ELSE -id END FROM many",
            "SELECT id FROM many ORDER BY id + (SELECT min(id) FROM single) LIMIT 5",
            "SELECT sum(id + (SELECT max(id) FROM single)) FROM many",
            "SELECT id FROM few WHERE id = (SELECT max(id) FROM few WHERE id < (SELECT avg(id) FROM few))",
            "SELECT (SELECT id FROM few WHERE id = 7) + id FROM many",
            "SELECT a.id FROM many a JOIN few b ON a.id = b.id + (SELECT min(id) FROM single)",
            "SELECT k + (SELECT min(id) FROM single) AS x, count(*) FROM many GROUP BY x",
            "SELECT id, sum(id) OVER (PARTITION BY k - (SELECT min(id) FROM single) ORDER BY id) FROM many",
            "SELECT a.id, (SELECT max(d) FROM many) FROM many a JOIN many b ON a.id = b.id \
             WHERE a.d < (SELECT max(d) FROM many) AND b.k > (SELECT min(k) FROM few) AND a.k = (SELECT max(k) FROM few) - 1",
            "SELECT id FROM few WHERE id > (SELECT avg(x) FROM (SELECT id + (SELECT min(k) FROM many) AS x FROM few)) \
             UNION ALL SELECT id FROM many WHERE id = (SELECT max(id) FROM many)",
            "SELECT id FROM many WHERE d = (SELECT max(d) FROM many) ORDER BY k, id",
            "SELECT count(*) FROM many WHERE id < (SELECT count(*) FROM (SELECT id FROM many WHERE id > (SELECT avg(id) FROM many)))",
        ],
    )
    .await;
}

/// One process refuses a scalar subquery of several rows; so do stages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scalar_subquery_of_several_rows_is_refused() {
    let session = fixture().await;
    for sql in [
        "SELECT id, (SELECT id FROM few) AS other FROM many",
        "SELECT id FROM many WHERE id > (SELECT id FROM few WHERE id < 2)",
        "SELECT (SELECT k FROM many)",
    ] {
        assert!(session.expected(sql).await.is_err(), "{sql}");
        let query = session.staged(sql).await;
        match session.run(&query, 3).await {
            Err(error) => {
                assert_eq!(error.class, ErrorClass::User, "{error}");
                assert!(error.message.contains("more than one row"), "{error}");
            }
            Ok(_) => panic!("{sql} was answered by\n{}", describe(&query.graph)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exists_and_in() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT id FROM many m WHERE EXISTS (SELECT 1 FROM few f WHERE f.k = m.k AND f.id <> m.id)",
            "SELECT id FROM many m WHERE NOT EXISTS (SELECT 1 FROM few f WHERE f.k = m.k AND f.id <> m.id)",
            "SELECT id FROM few m WHERE EXISTS (SELECT 1 FROM many f WHERE f.k = m.k)",
            "SELECT id FROM few m WHERE NOT EXISTS (SELECT 1 FROM many f WHERE f.id = m.id AND f.even)",
            "SELECT id FROM few WHERE EXISTS (SELECT 1 FROM nothing)",
            "SELECT id FROM few WHERE NOT EXISTS (SELECT 1 FROM nothing)",
            "SELECT id FROM many WHERE k IN (SELECT n FROM few)",
            "SELECT id FROM few WHERE id IN (SELECT id FROM many WHERE even)",
            "SELECT id FROM many WHERE n IN (SELECT n FROM few WHERE n > 100)",
        ],
    )
    .await;
}

/// A subquery in an OR becomes a mark join.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mark_joins() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT id FROM many m WHERE id = 7 OR EXISTS (SELECT 1 FROM few f WHERE f.id = m.id)",
            "SELECT id FROM few m WHERE id = 7 OR EXISTS (SELECT 1 FROM many f WHERE f.id = m.id AND f.even)",
            "SELECT id FROM many m WHERE id = 7 OR k IN (SELECT id FROM few)",
            "SELECT id FROM few m WHERE id = 7 OR k IN (SELECT id FROM many WHERE even)",
            "SELECT id FROM few m WHERE id = 7 OR NOT EXISTS (SELECT 1 FROM many f WHERE f.id > m.id * 30)",
            "SELECT id FROM few m WHERE id = 7 OR EXISTS (SELECT 1 FROM many f WHERE f.id = m.id * 30 AND f.k < m.k)",
        ],
    )
    .await;
}

/// One null among the rows of `NOT IN` makes its answer empty, whichever task sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_in_with_nulls() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT id FROM many WHERE id NOT IN (SELECT n FROM few)",
            "SELECT id FROM many WHERE id NOT IN (SELECT n FROM few WHERE n IS NOT NULL)",
            "SELECT id FROM many WHERE n NOT IN (SELECT n FROM few WHERE n > 5)",
            "SELECT id FROM few WHERE id NOT IN (SELECT n FROM many)",
            "SELECT id FROM few WHERE n NOT IN (SELECT n FROM many WHERE n > 5)",
            "SELECT id FROM few WHERE n NOT IN (SELECT n FROM nothing)",
            "SELECT id FROM few WHERE n NOT IN (SELECT id FROM many)",
            "SELECT id FROM nothing WHERE n NOT IN (SELECT n FROM many)",
            "SELECT id FROM few WHERE id > 100 OR n NOT IN (SELECT n FROM many WHERE n > 5)",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recursive_queries() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "WITH RECURSIVE t AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM t WHERE x < 50) SELECT sum(x) FROM t",
            "WITH RECURSIVE t AS (SELECT min(id) AS id, 0 AS depth FROM few UNION ALL \
             SELECT m.id, t.depth + 1 FROM t JOIN many m ON m.id = t.id * 2 + 1 WHERE t.depth < 8) \
             SELECT id, depth FROM t ORDER BY depth",
            "WITH RECURSIVE t(a, b, c) AS (SELECT id, k, s FROM few WHERE id < 3 UNION \
             SELECT a + 10, b, c FROM t WHERE a < 60) \
             SELECT c, count(*), max(a) FROM t GROUP BY c ORDER BY c",
            "WITH RECURSIVE t AS (SELECT 1 AS x, 2 AS y, 3 AS z UNION ALL SELECT x + 1, 0, z + x FROM t WHERE x < 9) \
             SELECT m.id, t.z FROM many m JOIN t ON t.x = m.id",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subqueries_in_views_and_ctes() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "WITH a AS (SELECT k, count(*) AS c FROM many GROUP BY k) \
             SELECT x.k, y.c FROM a x JOIN a y ON x.k = y.k WHERE x.c = (SELECT max(c) FROM a) ORDER BY 1",
            "SELECT * FROM grouped WHERE total > (SELECT avg(total) FROM grouped) ORDER BY k",
        ],
    )
    .await;
    assert!(matches!(
        session.plan("SELECT * FROM grouped").await,
        Ok(Planned::Query(_))
    ));
}
