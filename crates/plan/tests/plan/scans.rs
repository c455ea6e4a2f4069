//! How much a stage is thought to read.

use paceline_plan::QueryPlan;

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
