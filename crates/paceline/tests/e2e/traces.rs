//! What schedulers leave in the state: short queries nothing, those that stop nothing, and those that died
//! nothing for long.

use std::path::PathBuf;

use paceline_testkit::Role;

use crate::api::{ARROW, read};
use crate::left::{is_journaled, nothing_is_left};
use crate::stored::{files_below, state};
use crate::support::{Running, flags, labelled, midway, until};
use crate::takeover::{ask, begin};

/// Segments of journals that still mean something.
fn live_segments(running: &Running) -> Vec<PathBuf> {
    let mut segments = files_below(&state(running, "journal"));
    let drained: Vec<_> = segments
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name == "drained"))
        .filter_map(|path| path.parent().map(PathBuf::from))
        .collect();
    segments.retain(|path| !drained.iter().any(|journal| path.starts_with(journal)));
    segments
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedulers_that_stop_together_leave_no_journal_to_others() {
    let mut running = Running::start_with(|plan| {
        let at_once = ["--scheduler-linger", "0s"];
        plan.scheduler_flags.extend(flags(&at_once));
    })
    .await;
    running.create_tpch().await;
    for scheduler in 0..2 {
        let sql = "select count(*) from region";
        running.flight(scheduler).await.run(sql).await.unwrap();
    }
    assert!(!live_segments(&running).is_empty());
    running.cluster.shut_down().await.unwrap();
    assert_eq!(live_segments(&running), Vec::<PathBuf>::new());
    let members = files_below(&state(&running, "members"));
    assert_eq!(members, Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_queries_leave_no_trace_in_the_store() {
    // So that nobody asks for anything else meanwhile, and that no query is long, however busy the machine.
    let running = Running::start_with(|plan| {
        let quiet = ["--scheduler-beat", "1h", "--scheduler-takeover-after", "3h"];
        plan.scheduler_flags.extend(flags(&quiet));
        let long = ["--scheduler-linger", "5s"];
        plan.scheduler_flags.extend(flags(&long));
    })
    .await;
    running.create_tpch().await;
    let mut flight = running.flight(0).await;
    let sql = "select count(*) as n from region";
    flight.run(sql).await.unwrap();
    let asked = async || {
        let mut asked = Vec::new();
        for operation in ["create", "get", "put", "delete", "list"] {
            let label = format!("operation=\"{operation}\"");
            asked.push(labelled(&running, 0, "paceline_store_requests_total", &label).await);
        }
        asked
    };
    let before = asked().await;
    let asks = &before[..3];
    assert!(asks.iter().all(|asked| *asked > 0.0), "{before:?}");
    for _ in 0..150 {
        assert_eq!(flight.run(sql).await.unwrap().rows(), 1);
    }
    let http = running.http(0);
    for _ in 0..50 {
        let rows = http.sql(sql, None, ARROW).await.unwrap();
        assert_eq!(read(rows).await.rows(), 1);
    }
    let after = asked().await;
    assert_eq!(after[..4], before[..4]);
    // Looking for results whose time is over, twice a minute, begins with a listing.
    let lists = after[4] - before[4];
    assert!(lists < 10.0, "{lists} listings");
    assert_eq!(live_segments(&running), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_schedulers_journal_is_drained_and_its_beacon_removed() {
    let mut running = Running::with_tpch_kept_for("2s").await;
    let dead = running.http(0).status().await.unwrap().scheduler;
    let (started, query) = begin(&running, 0, midway).await;
    is_journaled(&running, 0, query).await;
    assert!(!live_segments(&running).is_empty());
    running.cluster.kill(Role::Scheduler, 0).await.unwrap();
    ask(&running, 1, &started).await.unwrap();
    let drained = state(&running, "journal").join(dead.as_str());
    let drained = drained.join("drained");
    until("the journal is drained", || async {
        drained.exists().then_some(())
    })
    .await;
    until("the beacon is gone", || async {
        let members = files_below(&state(&running, "members"));
        (members.len() == 1).then_some(())
    })
    .await;
    nothing_is_left(&running).await;
}
