//! Nothing, one partition, no columns.

use super::check_all;
use crate::support::{describe, fixture};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_inputs() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT * FROM nothing",
            "SELECT * FROM nothing ORDER BY id",
            "SELECT * FROM many WHERE false",
            "SELECT k, sum(d) FROM many WHERE id < 0 GROUP BY k ORDER BY k",
            "SELECT a.id FROM nothing a FULL JOIN nothing b ON a.id = b.id",
            "SELECT DISTINCT s FROM nothing",
            "SELECT a.id, b.c FROM many a LEFT JOIN (SELECT k, count(*) AS c FROM nothing GROUP BY k) b ON a.k = b.k",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_partition_inputs() {
    let mut session = fixture().await;
    session.settings.0.clear();
    check_all(
        &session,
        &[
            "SELECT * FROM single",
            "SELECT k, count(*) FROM single GROUP BY k",
            "SELECT id FROM single ORDER BY id DESC",
            "SELECT a.id FROM single a JOIN single b ON a.id = b.id",
            "SELECT a.id FROM single a FULL JOIN single b ON a.id = b.id + 1",
            "SELECT id, row_number() OVER (PARTITION BY k ORDER BY id) FROM single",
            "SELECT a.id, b.id FROM single a LEFT JOIN many b ON a.id < b.k",
            "SELECT id FROM single WHERE id > (SELECT avg(id) FROM single)",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_columns() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT count(*) FROM many WHERE even",
            "SELECT count(*) FROM (SELECT 1 FROM many)",
            "SELECT 'x' FROM many",
            "SELECT count(*) FROM many a CROSS JOIN single b",
            "SELECT count(*) FROM (SELECT id FROM many UNION ALL SELECT id FROM few)",
            "SELECT count(*) FROM many a JOIN few b ON a.k = b.k",
            "SELECT count(1) FROM (SELECT k FROM many GROUP BY k)",
            "SELECT 1 FROM many a CROSS JOIN single b LIMIT 2000",
            "SELECT 1 FROM few WHERE EXISTS (SELECT 1 FROM many)",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_partitions_than_rows() {
    let mut session = fixture().await;
    session
        .set("datafusion.execution.target_partitions", "64")
        .await;
    check_all(
        &session,
        &[
            "SELECT id, k FROM few ORDER BY id",
            "SELECT k, count(*) FROM single GROUP BY k",
            "SELECT a.id FROM few a JOIN single b ON a.id = b.id",
            "SELECT a.id FROM few a LEFT JOIN single b ON a.id = b.id",
        ],
    )
    .await;
    let sql = "SELECT k, count(*) FROM many GROUP BY k ORDER BY k";
    let query = session.check(sql).await;
    assert!(
        query.graph.stages().iter().any(|s| s.partitions == 64),
        "{}",
        describe(&query.graph)
    );
}
