//! What is lost is done again; the query goes on.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow::ipc::reader::StreamReader;
use paceline::client::Answer;
use paceline_frontend::QueryReport;
use paceline_model::QueryId;
use paceline_testkit::{FaultProxy, Role, Traffic};

use crate::again::Counts;
use crate::answers::agrees;
use crate::divided::{SLOTS, fat_stages, partitions};
use crate::left::{kept_for, nothing_is_left};
use crate::servers::SORTED;
use crate::support::{
    Running, SLOW, attempts, flags, joining, midway, of_executors, of_schedulers, until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_killed_midway_costs_a_re_run_and_not_the_query() {
    let mut running = Running::start_with(|plan| {
        plan.slots = SLOTS;
        kept_for(plan, "2s");
    })
    .await;
    running.create_tpch().await;
    let partitions = partitions(&running, 0, SLOW).await;
    let (answer, report) = running.start_until(SLOW, midway).await;
    running.cluster.kill(Role::Executor, 1).await.unwrap();
    let answer = answer.await.unwrap().unwrap();
    let report = running.http(0).query(report.query_id).await.unwrap();
    agrees(SLOW, &answer).await.unwrap();
    let fat = fat_stages(&running, &report, &partitions).unwrap();
    assert!(fat > 1, "{partitions:?} partitions: {report:?}");
    let (attempts, tasks) = attempts(&report);
    assert!(attempts > tasks, "nothing had to be done again: {report:?}");
    let counts = Counts::of(&running).await;
    counts.account_for(&report);
    // What is lost is what it had been given, and who fails is who read from it: no task twice.
    let by_others = of_executors(&running, "paceline_executor_attempts_total").await;
    assert!(counts.lost() <= counts.launched - by_others, "{counts:?}");
    let readers = report.stages.iter().rev().nth(1).unwrap().tasks;
    assert!(counts.failed <= f64::from(readers), "{counts:?}");

    // Another one takes its place.
    running.cluster.restart(Role::Executor, 1).await.unwrap();
    running.cluster.ready().await.unwrap();
    let again = running.flight(1).await.run(SLOW).await.unwrap();
    agrees(SLOW, &again).await.unwrap();
    nothing_is_left(&running).await;
}

/// The files into which operators of an executor have spilled.
fn spilled(running: &Running, executor: usize) -> Vec<PathBuf> {
    let own = format!("executor-{}", executor + 1);
    let own = running.directory.path().join(own);
    let mut files = running.executor_files();
    files.retain(|path| {
        let mut parts = path.components();
        path.starts_with(&own) && parts.any(|part| part.as_os_str() == "spill")
    });
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spills_of_a_killed_executor_go_when_it_starts_again() {
    let mut running = Running::start_with(|plan| {
        plan.executor_flags = flags(&["--executor-memory-limit", "48MiB"]);
        kept_for(plan, "2s");
    })
    .await;
    running.create_tpch().await;
    let (answer, _) = running.start_until(SORTED, |_| true).await;
    let killed = loop {
        let spilling = until("operators have spilled", || async {
            (0..3).find(|executor| !spilled(&running, *executor).is_empty())
        });
        let spilling = spilling.await;
        // While it stands still it removes nothing.
        let node = running.cluster.node(Role::Executor, spilling).unwrap();
        node.process().unwrap().freeze().unwrap();
        if !spilled(&running, spilling).is_empty() {
            break spilling;
        }
        let node = running.cluster.node(Role::Executor, spilling).unwrap();
        node.process().unwrap().thaw().unwrap();
    };
    running.cluster.kill(Role::Executor, killed).await.unwrap();
    let left = spilled(&running, killed);
    assert!(!left.is_empty(), "it had removed them before it was killed");

    running
        .cluster
        .restart(Role::Executor, killed)
        .await
        .unwrap();
    until("what it had spilled is gone", || async {
        left.iter().all(|path| !path.exists()).then_some(())
    })
    .await;
    let answer = answer.await.unwrap().unwrap();
    agrees(SORTED, &answer).await.unwrap();
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
        // However busy the machine, executors are back by then.
        let patient = ["--scheduler-reattach-grace", "30s"];
        plan.scheduler_flags.extend(flags(&patient));
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
    // One after the other: what is damaged is noticed by its checksum, what is deleted is not there.
    for strike in [damage, delete] {
        are_missed(&running, strike).await;
    }
    nothing_is_left(&running).await;
}

fn lies_on_disk(running: &Running) -> bool {
    let files = running.executor_files();
    files.iter().any(|path| size(path) > 100_000)
}

/// Strikes every file that a join is about to read, until outputs are missed because of that: they are made
/// again, and the answer is right.
async fn are_missed(running: &Running, strike: fn(&Path) -> bool) {
    let lost = async || of_schedulers(running, "paceline_exchange_outputs_lost_total").await;
    let again = async || of_schedulers(running, "paceline_task_reruns_total").await;
    let before = (lost().await, again().await);
    let mut rounds = 0;
    // What everybody has read by then may be gone, and nobody notices: it is tried again.
    while lost().await == before.0 {
        rounds += 1;
        assert!(rounds <= 5, "what was struck was never missed");
        let reached = |report: &QueryReport| joining(report) && lies_on_disk(running);
        let (answer, _) = running.start_until(EXCHANGING, reached).await;
        let files = running.executor_files();
        let hit = files.iter().filter(|path| strike(path)).count();
        assert!(hit > 0, "there was no file to strike");
        let answer = answer.await.unwrap().unwrap();
        agrees(EXCHANGING, &answer).await.unwrap();
    }
    assert!(again().await > before.1, "nothing was made again");
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Spoils a file all over, so that whatever frame of it is read next is damaged.
fn damage(path: &Path) -> bool {
    const STEP: usize = 4096;
    let length = size(path);
    let opened = File::options().write(true).open(path);
    opened.is_ok_and(|mut file| {
        (0..length).step_by(STEP).all(|place| {
            file.seek(SeekFrom::Start(place)).is_ok() && file.write_all(&[0xAA; 64]).is_ok()
        })
    })
}

fn delete(path: &Path) -> bool {
    std::fs::remove_file(path).is_ok()
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
        plan.doors = true;
        plan.executor_flags.extend(flags(&[
            "--executor-exchange-memory",
            "1MiB",
            "--executor-read-budget",
            "1MiB",
        ]));
        // All of a result is read from where it lies.
        let inline = ["--scheduler-inline-limit", "0"];
        plan.scheduler_flags.extend(flags(&inline));
        kept_for(plan, "2s");
    })
    .await;
    running.create_tpch().await;
    let scale = crate::support::tpch(0.1).scale();
    for query in paceline_testkit::tpch_queries() {
        let sql = query.sql(scale);
        let answer = running.flight(0).await.run(&sql).await.unwrap();
        let checked = agrees(&sql, &answer).await;
        checked.unwrap_or_else(|problem| panic!("{query}: {problem}"));
    }
    let spills = of_executors(&running, "paceline_exchange_spills_total").await;
    assert!(spills > 0.0, "the budget was never felt");
    two_thousand_partitions(&running).await;
    connections_between_executors_are_cut(&running).await;
    nothing_is_left(&running).await;
}

/// An exchange of 2,000 partitions, and a result of as many, whatever little there is.
async fn two_thousand_partitions(running: &Running) {
    let sql = "select ps_partkey % 5000 as g, count(*) as n, max(ps_comment) as c from partsupp \
               group by ps_partkey % 5000";
    let address = &running.cluster.schedulers()[1].announced().http;
    let ask = async |sql: &str, accept: &str| {
        let settings = serde_json::json!({ "datafusion.execution.target_partitions": 2000 });
        let asked = reqwest::Client::new()
            .post(format!("http://{address}/v1/sql"))
            .header("accept", accept)
            .json(&serde_json::json!({ "sql": sql, "settings": settings }));
        let answer = asked.send().await.unwrap();
        let query = answer.headers()["x-paceline-query-id"].to_str().unwrap();
        let query: QueryId = query.parse().unwrap();
        (query, answer.bytes().await.unwrap())
    };
    let (_, plan) = ask(&format!("explain {sql}"), "text/csv").await;
    let plan = String::from_utf8_lossy(&plan);
    assert!(plan.contains("exchange=hash(2000)"), "{plan}");
    let (query, rows) = ask(sql, "application/vnd.apache.arrow.stream").await;
    let rows = StreamReader::try_new(&rows[..], None).unwrap();
    let schema = rows.schema();
    let batches = rows.collect::<Result<_, _>>().unwrap();
    agrees(sql, &Answer { schema, batches }).await.unwrap();
    let report = running.http(1).query(query).await.unwrap();
    let (attempts, tasks) = attempts(&report);
    assert_eq!(attempts, tasks, "something was done twice: {report:?}");
    assert!(tasks < 10, "many small tasks: {report:?}");
}

/// Connections that break while data is on its way are opened again, and the query goes on.
async fn connections_between_executors_are_cut(running: &Running) {
    let opened_again = async || of_executors(running, "paceline_exchange_reconnects_total").await;
    let cut = || {
        let doors = running.cluster.executors().iter();
        let doors = doors.filter_map(|node| node.doors());
        doors.map(|doors| doors.cut_connections()).sum::<u64>()
    };
    let mut rounds = 0;
    // A stream may have come to its end at that very moment: it is tried again.
    while opened_again().await == 0.0 {
        rounds += 1;
        assert!(rounds <= 5, "no stream was cut");
        let (counts, connections) = (Counts::of(running).await, cut());
        let (answer, report) = running.start_until(EXCHANGING, joining).await;
        until("data is on its way", || async {
            let streams = of_executors(running, "paceline_exchange_reading_streams").await;
            (streams > 0.0).then_some(())
        })
        .await;
        for node in running.cluster.executors() {
            let doors = node.doors().unwrap();
            doors.set(Traffic::Cut);
            doors.set(Traffic::Flows);
        }
        let answer = answer.await.unwrap().unwrap();
        agrees(EXCHANGING, &answer).await.unwrap();
        assert!(cut() > connections, "no connection was cut");
        let report = running.http(0).query(report.query_id).await.unwrap();
        let counts = Counts::of(running).await.since(counts);
        counts.account_for(&report);
    }
}
