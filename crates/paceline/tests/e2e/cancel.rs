//! Ends that were asked for, and waits that have one.

use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use paceline_model::QueryState;

use crate::divided::SLOTS;
use crate::metrics::{labelled_of_executors, of_executors};
use crate::support::{Running, SLOW, flags, joining, until};

/// A join of some thousand million rows: it comes to no end while anybody waits.
const ENDLESS: &str = "select count(*) as n, sum(a.l_quantity + b.l_quantity) as q, \
     max(a.l_comment) as c from lineitem a join lineitem b on a.l_quantity = b.l_quantity \
     where a.l_orderkey % 7 <> b.l_orderkey % 5";

/// Within which all is free that a cancelled query had. It takes a tenth of that on two busy cores.
const AT_ONCE: Duration = Duration::from_secs(3);

async fn everything_is_free(running: &Running) {
    let http = running.http(0);
    until("slots and memory are free", || async {
        let status = http.status().await.unwrap();
        let busy =
            |e: &paceline_frontend::ExecutorStatus| e.slots_used > 0 || e.memory_used_bytes > 0;
        (!status.executors.iter().any(busy)).then_some(())
    })
    .await;
    until("no file is left", || async {
        running.executor_files().is_empty().then_some(())
    })
    .await;
}

/// What executors count while they hold something of a query: slots, memory, outputs, files.
const HELD: [&str; 4] = [
    "paceline_executor_slots_used",
    "paceline_executor_memory_used_bytes",
    "paceline_exchange_outputs",
    "paceline_exchange_disk_bytes",
];

/// Of which of these no executor holds anything.
async fn missing(running: &Running, names: &[&'static str]) -> Vec<&'static str> {
    let mut missing = Vec::new();
    for name in names {
        if of_executors(running, name).await == 0.0 {
            missing.push(*name);
        }
    }
    missing
}

/// Whether the tasks of each executor have all of its slots.
async fn every_slot_is_taken(running: &Running) -> bool {
    for executor in running.cluster.executors() {
        let address = &executor.announced().metrics;
        let used = Running::metric(address, "paceline_executor_slots_used").await;
        assert!(used <= SLOTS as f64, "{used} of {SLOTS} slots");
        if used < SLOTS as f64 {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_query_leaves_nothing_behind() {
    let running = Running::start_with(|plan| {
        plan.slots = SLOTS;
        plan.executor_flags.extend(flags(&[
            "--executor-exchange-memory",
            "64KiB",
            "--executor-heartbeat",
            "20ms",
        ]));
        // What stayed for as long as a result would is not waited for.
        let kept = ["--scheduler-result-ttl", "600s"];
        plan.scheduler_flags.extend(flags(&kept));
    })
    .await;
    running.create_tpch().await;
    let (answer, report) = running.start_until(ENDLESS, joining).await;
    until("there is something of everything to be freed", || async {
        let everything = missing(&running, &HELD).await.is_empty();
        let everywhere = everything && every_slot_is_taken(&running).await;
        (everywhere && !running.executor_files().is_empty()).then_some(())
    })
    .await;
    let all = [&HELD[..], &["paceline_exchange_memory_bytes"]].concat();
    let cancelled = Instant::now();
    // Any scheduler takes the order.
    running.http(1).cancel(report.query_id).await.unwrap();
    everything_is_free(&running).await;
    until("executors count nothing that is held", || async {
        (missing(&running, &all).await == all).then_some(())
    })
    .await;
    let took = cancelled.elapsed();
    assert!(took < AT_ONCE, "it took {took:?} until all was free");
    let error = answer.await.unwrap().unwrap_err();
    assert!(error.contains("cancel"), "{error}");
    let report = running.http(0).query(report.query_id).await.unwrap();
    assert_eq!(report.state, QueryState::Cancelled);
    let cancelled = "outcome=\"cancelled\"";
    let stopped = labelled_of_executors(&running, "paceline_executor_tasks_total", cancelled);
    assert!(
        stopped.await > 0.0,
        "nothing was stopped: it came to its own end"
    );
    // The next query finds all slots.
    running
        .flight(0)
        .await
        .run("select count(*) from nation")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_was_read_leaves_nothing_behind() {
    let running = Running::start_with(|plan| {
        plan.scheduler_flags
            .extend(flags(&["--scheduler-result-ttl", "100ms"]));
    })
    .await;
    running.create_tpch().await;
    let sql = "select l_suppkey, count(*) from lineitem group by l_suppkey";
    let answer = running.flight(0).await.run(sql).await.unwrap();
    assert_eq!(answer.rows(), 1000);
    everything_is_free(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_executors_a_query_waits_and_then_says_so() {
    let running = Running::start_with(|plan| {
        plan.executors = 0;
        plan.scheduler_flags
            .extend(flags(&["--scheduler-no-executor-grace", "300ms"]));
    })
    .await;
    running.create_tpch().await;
    let mut flight = running.flight(0).await;
    // The columns are told although nothing can run: who waited for a result first would have an error.
    let sql = "select n_name, n_nationkey + 1 as k from nation";
    let started = flight.start(sql).await.unwrap();
    let columns = started.schema.fields().iter().map(|field| field.name());
    assert_eq!(columns.collect::<Vec<_>>(), ["n_name", "k"]);
    assert_eq!(started.schema.field(1).data_type(), &DataType::Int64);
    let error = flight.finish(started).await.unwrap_err().to_string();
    assert!(error.contains("executor"), "{error}");
    let ready = reqwest::get(format!(
        "http://{}/v1/ready",
        running.cluster.schedulers()[0].announced().http
    ));
    assert_eq!(ready.await.unwrap().status().as_u16(), 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_has_a_deadline_if_one_is_set() {
    let running = Running::start_with(|plan| {
        plan.scheduler_flags
            .extend(flags(&["--scheduler-query-timeout", "200ms"]));
    })
    .await;
    running.create_tpch().await;
    let error = running
        .flight(0)
        .await
        .run(SLOW)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("within its limit"), "{error}");
    everything_is_free(&running).await;
}
