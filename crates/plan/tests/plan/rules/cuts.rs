//! Where plans are cut and where they are not.

use paceline_model::{ByteSize, ExchangeKind};
use paceline_plan::{Planned, QueryPlan};

use crate::support::{Session, describe, fixture};

const JOINED: &str =
    "SELECT m.s, count(*) FROM many m JOIN few f ON m.k = f.k GROUP BY m.s ORDER BY m.s";

async fn planned(session: &Session, small: ByteSize, slots: &[u32]) -> QueryPlan {
    match session.plan_for(JOINED, small, slots).await {
        Ok(Planned::Query(query)) => query,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_plans_are_one_stage() {
    let session = fixture().await;
    assert!(planned(&session, ByteSize(0), &[2, 2]).await.graph.len() > 1);
    for (small, slots) in [
        (ByteSize::mib(32), &[2, 2, 2][..]),
        (ByteSize::mib(32), &[]),
        // One executor has nobody to exchange with.
        (ByteSize(0), &[4]),
    ] {
        let query = planned(&session, small, slots).await;
        assert_eq!(query.graph.len(), 1, "{small} {slots:?}");
        let root = query.graph.root();
        assert!(!root.divisible && root.inputs.is_empty());
        assert_eq!(root.exchange, ExchangeKind::Forward);
    }
    let mut session = session;
    let setting = ("paceline.small_plan_bytes".to_string(), "0B".to_string());
    session.settings.0.insert(setting.0, setting.1);
    assert!(
        planned(&session, ByteSize::mib(32), &[2, 2])
            .await
            .graph
            .len()
            > 1
    );
}

/// A merge keeps its order and its limit, and reads partition by partition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_keep_order_and_fetch() {
    let session = fixture().await;
    let sql = "SELECT id, f FROM many ORDER BY f DESC, id LIMIT 9";
    let query = session.check(sql).await;
    let (below, root) = (&query.graph.stages()[0], query.graph.root());
    let text = describe(&query.graph);
    assert!(
        root.text
            .contains("SortPreservingMergeExec: [f@1 DESC, id@0 ASC NULLS LAST], fetch=9"),
        "{text}"
    );
    assert!(below.text.contains("TopK(fetch=9)"), "{text}");
    assert_eq!(
        (root.partitions, below.exchange),
        (1, ExchangeKind::Forward)
    );
    assert!(below.divisible && root.inputs[0].whole);
}

/// A small build side runs in every task; one that is not runs once, and all tasks read it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_side_is_broadcast_once() {
    let session = fixture().await;
    let sql = "SELECT m.id FROM many m JOIN few f ON m.k = f.k";
    let staged = session.check(sql).await;
    assert_eq!(staged.graph.len(), 2, "{}", describe(&staged.graph));
    // More than `few`, but not all of it.
    let most = ByteSize(staged.graph.root().scan_bytes);
    let inline = match session.plan_for(sql, most, &[2, 2, 2]).await {
        Ok(Planned::Query(query)) => query,
        other => panic!("{other:?}"),
    };
    assert_eq!(inline.graph.len(), 1, "{}", describe(&inline.graph));
    assert!(inline.graph.root().divisible);

    let sql = "SELECT m.id, f.top FROM many m JOIN (SELECT k, max(id) AS top FROM few GROUP BY k) f ON m.k = f.k";
    let grouped = session.check(sql).await;
    let root = grouped.graph.root();
    let text = describe(&grouped.graph);
    assert!(
        root.divisible && root.text.contains("CollectLeft"),
        "{text}"
    );
    let wholes = root.inputs.iter().filter(|input| input.whole).count();
    assert_eq!(wholes, 1, "{text}");
    let ran = session.run(&grouped, 3).await.unwrap();
    assert_eq!(ran.rows(root.inputs[0].stage.0 as usize), 97, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_picks_by_arrival_is_marked() {
    let session = fixture().await;
    for (sql, steady) in [
        ("SELECT k, sum(id) FROM many GROUP BY k", true),
        ("SELECT id FROM many ORDER BY id", true),
        ("SELECT id, random() FROM many", false),
        ("SELECT id FROM many LIMIT 5", false),
        ("SELECT id FROM many OFFSET 5", false),
        ("SELECT k, first_value(id) FROM many GROUP BY k", false),
        ("SELECT k, any_value(id) FROM many GROUP BY k", false),
        ("SELECT k, approx_median(id) FROM many GROUP BY k", false),
        (
            "SELECT k, approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY id) FROM many GROUP BY k",
            false,
        ),
        ("SELECT id, row_number() OVER () FROM many", false),
        ("SELECT id, uuid() FROM many WHERE id > 5", false),
        // The last digits of the sums choose the partitions of the second exchange.
        (
            "SELECT x, count(*) FROM (SELECT sum(f) AS x FROM many GROUP BY k) GROUP BY x",
            false,
        ),
        (
            "SELECT x, count(*) FROM (SELECT CAST(sum(f) AS VARCHAR) AS x FROM many GROUP BY k) GROUP BY x",
            false,
        ),
        ("SELECT f, count(*) FROM many GROUP BY f", true),
    ] {
        let query = session.staged(sql).await;
        let all = query.graph.stages().iter().all(|stage| stage.deterministic);
        assert_eq!(all, steady, "{sql}\n{}", describe(&query.graph));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_are_measured() {
    let session = fixture().await;
    let query = session
        .staged("SELECT count(id) FROM many WHERE even")
        .await;
    let bytes: u64 = query
        .graph
        .stages()
        .iter()
        .map(|stage| stage.scan_bytes)
        .sum();
    assert!((10_000..10_000_000).contains(&bytes), "{bytes}");
}
