//! Results that nobody has read when their owner leaves.

use std::time::Duration;

use crate::flight::{flight, rows};
use crate::support::{Cluster, lines, reference};

/// Its owner had the rows, and so have the executors that made them, until somebody has read them.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_result_that_nobody_has_read_is_not_made_again() {
    let cluster = Cluster::start_with(2, 2, |options| {
        options.result_ttl = Duration::from_secs(3600);
    })
    .await;
    let directory = cluster.make_table("t", 1000).await;
    let sql = "SELECT grp, count(*) AS n FROM t GROUP BY grp";
    let mut client = flight(&cluster, 0).await;
    // So that a journal holds it, however soon it ends.
    client.set_header("idempotency-key", "k");
    let info = client.execute(sql.to_string(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let query = String::from_utf8(info.app_metadata.to_vec()).unwrap();
    let report = cluster.finished(0, &query).await;
    assert!(report["stages"].as_array().unwrap().len() > 1, "{report}");
    cluster.schedulers[0].drain(Duration::from_secs(5)).await;

    let mut client = flight(&cluster, 1).await;
    let expected = reference("t", &directory, sql).await;
    for reading in ["the first time", "and again"] {
        let read = rows(&mut client, ticket.clone()).await;
        assert_eq!(lines(&read), expected, "{reading}");
    }
    let report = cluster.finished(1, &query).await;
    assert_eq!(report["epoch"], 1, "{report}");
    let launched = cluster.value(1, "paceline_task_attempts_total", "launched");
    assert_eq!(launched, 0.0, "it was run again");
    let planned = cluster.count(1, "paceline_query_planning_seconds");
    assert_eq!(planned, 0, "it was planned again");
    // What was read is kept by its owner alone.
    cluster
        .until("no executor to hold anything of it", || async {
            let mut executors = cluster.executors.iter();
            executors.all(|executor| executor.status().queries == 0)
        })
        .await;
}
