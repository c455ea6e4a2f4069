//! Results that are read through another scheduler than the one that drives the query.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::Ticket;
use futures::TryStreamExt;
use paceline_model::ByteSize;

use crate::flight::{flight, rows, started};
use crate::support::{Cluster, lines, reference};

const ROWS: i64 = 200_000;

/// Starts a statement at the first scheduler, and waits for its end.
async fn finished(cluster: &Cluster, sql: &str) -> (Ticket, String) {
    let mut client = flight(cluster, 0).await;
    // So that a journal has it.
    client.set_header("idempotency-key", sql);
    let info = client.execute(sql.to_string(), None).await.unwrap();
    let query = String::from_utf8(info.app_metadata.to_vec()).unwrap();
    cluster.finished(0, &query).await;
    (info.endpoint[0].ticket.clone().unwrap(), query)
}

/// How many queries executors hold anything of, at most.
fn held(cluster: &Cluster) -> usize {
    let executors = cluster.executors.iter();
    let held = executors.map(|executor| executor.status().queries);
    held.max().unwrap()
}

/// One task finds few rows and another one many: the few came back with its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_which_a_part_is_small_is_not_gathered_by_its_owner() {
    let cluster = Cluster::start_with(2, 2, |options| {
        options.inline_limit = ByteSize(16 << 10);
    })
    .await;
    let directory = cluster.make_table("t", ROWS).await;
    // All others of its files have one row of it.
    let sql = "SELECT * FROM t WHERE id % 4 = 3 OR id < 4";
    let (ticket, query) = finished(&cluster, sql).await;
    let report = cluster.finished(0, &query).await;
    let stages = report["stages"].as_array().unwrap();
    assert!(
        stages.last().unwrap()["tasks"].as_u64() > Some(1),
        "{report}"
    );
    let read = rows(&mut flight(&cluster, 1).await, ticket).await;
    assert_eq!(lines(&read), reference("t", &directory, sql).await);
    let received = |scheduler| {
        let name = "paceline_exchange_received_bytes_total";
        cluster.value(scheduler, name, "")
    };
    assert_eq!(received(0), 0.0, "its owner read it");
    assert!(received(1) > 0.0, "it lay on an executor");
}

/// As one that was read where its query is driven.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_through_another_scheduler_is_let_go() {
    // Parts that lie on executors, and parts that came back.
    for inline_limit in [ByteSize(0), ByteSize::mib(1)] {
        let cluster = Cluster::start_with(2, 2, |options| {
            options.inline_limit = inline_limit;
            options.result_ttl = Duration::ZERO;
            options.unread_ttl = Duration::from_secs(3600);
        })
        .await;
        cluster.make_table("t", 1000).await;
        let (ticket, _) = finished(&cluster, "SELECT * FROM t").await;
        assert_eq!(held(&cluster), 1, "nobody has read it");
        let read = rows(&mut flight(&cluster, 1).await, ticket).await;
        assert_eq!(count(&read), 1000);
        cluster
            .until("nothing to be held any more", || async {
                held(&cluster) == 0
            })
            .await;
    }
}

fn count(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// Two schedulers that keep no result for long that nobody reads, and let no reader get far ahead.
async fn impatient() -> Cluster {
    let cluster = Cluster::start_with(2, 2, |options| {
        options.inline_limit = ByteSize(0);
        options.unread_ttl = Duration::from_secs(3);
        options.read_budget = ByteSize(64 << 10);
    })
    .await;
    cluster.make_table("t", ROWS).await;
    cluster
}

/// Waits until a result is let go of that nobody reads, at that scheduler: one that was begun to be read
/// before would be as well, if nobody read it.
async fn what_nobody_reads_goes(cluster: &Cluster, scheduler: usize) {
    let mut client = flight(cluster, scheduler).await;
    let sql = "SELECT id FROM t WHERE id < 100";
    started(&mut client, sql).await;
    let me = cluster.schedulers[scheduler].id();
    let own = format!("/v1/queries?state=finished&owner={me}");
    cluster
        .until("it to be finished", || async {
            let list = cluster.get(scheduler, &own).await;
            let queries = list["queries"].as_array().unwrap();
            queries.iter().any(|query| query["sql"] == sql)
        })
        .await;
    cluster
        .until("what nobody reads to go", || async { held(cluster) <= 1 })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_kept_for_as_long_as_it_is_read_through_another_scheduler() {
    let cluster = impatient().await;
    let (ticket, _) = finished(&cluster, "SELECT * FROM t").await;
    let mut client = flight(&cluster, 1).await;
    let mut stream = client.do_get(ticket).await.unwrap();
    let first = stream.try_next().await.unwrap().unwrap();
    what_nobody_reads_goes(&cluster, 0).await;
    let rest: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    assert_eq!(first.num_rows() + count(&rest), ROWS as usize);
}

/// Whoever drives the query next keeps it from then on.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_kept_as_well_when_its_owner_leaves_meanwhile() {
    let cluster = impatient().await;
    let (ticket, query) = finished(&cluster, "SELECT * FROM t").await;
    let mut client = flight(&cluster, 1).await;
    let mut stream = client.do_get(ticket).await.unwrap();
    let first = stream.try_next().await.unwrap().unwrap();
    cluster.schedulers[0].drain(Duration::from_secs(60)).await;
    let report = cluster.finished(1, &query).await;
    assert_eq!(report["epoch"], 1, "{report}");
    what_nobody_reads_goes(&cluster, 1).await;
    let rest: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    assert_eq!(first.num_rows() + count(&rest), ROWS as usize);
}
