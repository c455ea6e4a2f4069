//! Ends that were asked for, and waits that have one.

use paceline_model::QueryState;

use crate::support::{Running, SLOW, flags, midway, until};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_query_leaves_nothing_behind() {
    let running = Running::start_with(|plan| {
        plan.executor_flags
            .extend(flags(&["--executor-exchange-memory", "1MiB"]));
    })
    .await;
    running.create_tpch().await;
    let (answer, report) = running.start_until(SLOW, midway).await;
    let http = running.http(0);
    until("something is there to be freed", || async {
        let status = http.status().await.unwrap();
        let busy = |e: &paceline_frontend::ExecutorStatus| e.slots_used > 0;
        status.executors.iter().any(busy).then_some(())
    })
    .await;
    // Any scheduler takes the order.
    running.http(1).cancel(report.query_id).await.unwrap();
    let error = answer.await.unwrap().unwrap_err();
    assert!(error.contains("cancel"), "{error}");
    let report = running.http(0).query(report.query_id).await.unwrap();
    assert_eq!(report.state, QueryState::Cancelled);
    everything_is_free(&running).await;
    let mut stopped = 0.0;
    for executor in running.cluster.executors() {
        let address = &executor.announced().metrics;
        let cancelled = "outcome=\"cancelled\"";
        stopped += Running::labelled(address, "paceline_executor_tasks_total", cancelled).await;
    }
    assert!(stopped > 0.0, "nothing was stopped: it came to its own end");
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
    let error = running
        .flight(0)
        .await
        .run("select count(*) from nation")
        .await;
    let error = error.unwrap_err().to_string();
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
