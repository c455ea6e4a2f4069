//! What is lost is done again; the query goes on.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use paceline_frontend::QueryReport;
use paceline_testkit::{FaultProxy, Role};

use crate::answers::agrees;
use crate::left::{kept_for, nothing_is_left};
use crate::support::{Running, SLOW, attempts, flags, joining, midway, of_schedulers, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_killed_midway_costs_a_re_run_and_not_the_query() {
    let mut running = Running::with_tpch_kept_for("2s").await;
    let (answer, report) = running.start_until(SLOW, midway).await;
    running.cluster.kill(Role::Executor, 1).await.unwrap();
    let answer = answer.await.unwrap().unwrap();
    let report = running.http(0).query(report.query_id).await.unwrap();
    agrees(SLOW, &answer).await.unwrap();
    let (attempts, tasks) = attempts(&report);
    assert!(attempts > tasks, "nothing had to be done again: {report:?}");

    // Another one takes its place.
    running.cluster.restart(Role::Executor, 1).await.unwrap();
    running.cluster.ready().await.unwrap();
    let again = running.flight(1).await.run(SLOW).await.unwrap();
    agrees(SLOW, &again).await.unwrap();
    nothing_is_left(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_stands_still_is_given_up() {
    let mut running = Running::start_with(|plan| {
        let timeout = ["--scheduler-executor-timeout", "2s"];
        plan.scheduler_flags.extend(flags(&timeout));
        kept_for(plan, "2s");
    })
    .await;
    running.create_tpch().await;
    let (answer, report) = running.start_until(SLOW, midway).await;
    let frozen = running.cluster.node(Role::Executor, 0).unwrap();
    frozen.process().unwrap().freeze().unwrap();
    let answer = answer.await.unwrap().unwrap();
    let report = running.http(0).query(report.query_id).await.unwrap();
    agrees(SLOW, &answer).await.unwrap();
    let (attempts, tasks) = attempts(&report);
    assert!(attempts > tasks, "nothing had to be done again: {report:?}");

    let frozen = running.cluster.node(Role::Executor, 0).unwrap();
    frozen.process().unwrap().thaw().unwrap();
    running.cluster.ready().await.unwrap();
    // What it held and ran when it was given up goes as well.
    nothing_is_left(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_control_connection_costs_nothing() {
    let plain = Running::start_with(|plan| {
        plan.executors = 0;
        kept_for(plan, "2s");
    })
    .await;
    let target = plain.cluster.schedulers()[0].announced().cluster.clone();
    let proxy = FaultProxy::start(target).await.unwrap();
    // A second set of executors, which know the first scheduler by the proxy's address alone.
    let address = proxy.address().to_string();
    let mut running = plain;
    running.cluster.set_scheduler_addresses(vec![address]);
    for _ in 0..2 {
        running.cluster.add(Role::Executor).await.unwrap();
    }
    running.cluster.ready().await.unwrap();
    running.create_tpch().await;
    let (answer, report) = running.start_until(SLOW, midway).await;
    proxy.cut_once();
    let answer = answer.await.unwrap().unwrap();
    let report = running.http(0).query(report.query_id).await.unwrap();
    agrees(SLOW, &answer).await.unwrap();
    assert!(proxy.cut_connections() > 0, "no connection was cut");
    let (attempts, tasks) = attempts(&report);
    assert_eq!(attempts, tasks, "something was done twice: {report:?}");
    running.cluster.ready().await.unwrap();
    nothing_is_left(&running).await;
}

/// A join of which neither side can be sent whole to all tasks: it reads both from exchanges, and the
/// second one for as long as it runs.
const EXCHANGING: &str = "select count(*) as n, sum(a.l_quantity + b.l_quantity) as q, \
     max(a.l_comment) as c from (select * from lineitem where l_orderkey % 4 = 0) a \
     full join lineitem b on a.l_suppkey = b.l_suppkey";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_and_deleted_exchange_files_are_made_again() {
    let running = Running::start_with(|plan| {
        // Next to nothing fits into memory, so outputs go to disk, and most of them lies there unread
        // for as long as the join runs.
        let memory = [
            "--executor-exchange-memory",
            "1MiB",
            "--executor-read-budget",
            "1MiB",
            "--executor-compression",
            "none",
        ];
        plan.executor_flags.extend(flags(&memory));
        kept_for(plan, "2s");
    })
    .await;
    running.create_tpch().await;
    let on_disk = |report: &QueryReport| {
        joining(report)
            && running
                .executor_files()
                .iter()
                .any(|path| size(path) > 100_000)
    };
    let lost = "paceline_exchange_outputs_lost_total";
    let mut rounds = 0;
    // What everybody has read by then may be damaged, and nobody notices: it is tried again.
    while of_schedulers(&running, lost).await == 0.0 {
        rounds += 1;
        assert!(rounds <= 5, "what was damaged was never missed");
        let (answer, _) = running.start_until(EXCHANGING, on_disk).await;
        let mut hit = 0;
        for (index, path) in running.executor_files().iter().enumerate() {
            hit += u32::from(if index % 2 == 0 {
                damage(path)
            } else {
                std::fs::remove_file(path).is_ok()
            });
        }
        assert!(hit > 0, "there was no file to damage");
        let answer = answer.await.unwrap().unwrap();
        agrees(EXCHANGING, &answer).await.unwrap();
    }
    let again = of_schedulers(&running, "paceline_task_reruns_total").await;
    assert!(again > 0.0, "nothing was made again");
    nothing_is_left(&running).await;
}

fn size(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Spoils a file all over, so that whatever frame of it is read next is damaged.
fn damage(path: &std::path::Path) -> bool {
    const STEP: usize = 4096;
    let length = size(path);
    let opened = File::options().write(true).open(path);
    opened.is_ok_and(|mut file| {
        (0..length).step_by(STEP).all(|place| {
            file.seek(SeekFrom::Start(place)).is_ok() && file.write_all(&[0xAA; 64]).is_ok()
        })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_drains_finishes_what_it_runs() {
    let mut running = Running::with_tpch_kept_for("2s").await;
    let (answer, report) = running.start_until(SLOW, joining).await;
    let draining = running.cluster.node(Role::Executor, 2).unwrap();
    draining.process().unwrap().terminate().unwrap();
    let answer = answer.await.unwrap().unwrap();
    let report = running.http(0).query(report.query_id).await.unwrap();
    agrees(SLOW, &answer).await.unwrap();
    let (attempts, tasks) = attempts(&report);
    assert_eq!(attempts, tasks, "something was done twice: {report:?}");
    let http = running.http(0);
    until("it has left", || async {
        (http.status().await.unwrap().executors.len() == 2).then_some(())
    })
    .await;
    let ended = running.cluster.node(Role::Executor, 2).unwrap();
    let status = ended.process().unwrap().wait().await.unwrap();
    assert!(status.success(), "{status}");
    let left: Vec<_> = running
        .executor_files()
        .into_iter()
        .filter(|path| path.starts_with(running.directory.path().join("executor-3")))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    running.cluster.stop(Role::Executor, 2).await.unwrap();
    nothing_is_left(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_budgets_slow_a_query_down_and_do_not_stop_it() {
    let running = Running::start_with(|plan| {
        plan.executors = 2;
        plan.executor_flags.extend(flags(&[
            "--executor-exchange-memory",
            "1MiB",
            "--executor-read-budget",
            "1MiB",
        ]));
        kept_for(plan, "2s");
    })
    .await;
    running.create_tpch().await;
    let scale = crate::support::tpch(0.1).scale();
    for query in paceline_testkit::tpch_queries() {
        if ![3, 9, 18, 21].contains(&query.number()) {
            continue;
        }
        let sql = query.sql(scale);
        let answer = running.flight(0).await.run(&sql).await.unwrap();
        agrees(&sql, &answer).await.unwrap();
    }
    let mut spills = 0.0;
    for executor in running.cluster.executors() {
        let address = &executor.announced().metrics;
        spills += Running::metric(address, "paceline_exchange_spills_total").await;
    }
    assert!(spills > 0.0, "the budget was never felt");
    nothing_is_left(&running).await;
}
