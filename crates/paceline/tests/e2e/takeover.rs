//! Schedulers die, are cut off and leave; queries go on.

use paceline::client::{Answer, Flight, Http, Started};
use paceline_frontend::QueryReport;
use paceline_model::QueryId;
use paceline_testkit::{Role, Traffic};

use crate::answers::agrees;
use crate::api::{ARROW, read};
use crate::leaving::Coming;
use crate::left::{is_journaled, kept_for, nothing_is_left};
use crate::stored::{files_below, state};
use crate::support::{
    Running, SLOW, attempts, flags, joining, labelled, metric, midway, of_executors, of_schedulers,
    until,
};

pub(crate) const ATTEMPTS: &str = "paceline_executor_attempts_total";
const PLANNED: &str = "paceline_query_planning_seconds_count";

/// Starts a statement at a scheduler and waits until it has come so far.
pub(crate) async fn begin(
    running: &Running,
    scheduler: usize,
    reached: impl Fn(&QueryReport) -> bool,
) -> (Started, QueryId) {
    let mut flight = running.flight(scheduler).await;
    let started = flight.start(SLOW).await.unwrap();
    let query = started.query.unwrap();
    let http = running.http(scheduler);
    until("the query comes so far", || async {
        let report = http.query(query).await.unwrap();
        assert!(!report.state.is_final(), "it ended too soon: {report:?}");
        reached(&report).then_some(())
    })
    .await;
    (started, query)
}

/// Asks a scheduler for the result of what was started anywhere.
pub(crate) async fn ask(
    running: &Running,
    scheduler: usize,
    started: &Started,
) -> Result<Answer, String> {
    let mut flight = running.flight(scheduler).await;
    let answer = flight.finish(started.clone()).await;
    answer.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_killed_midway_loses_nothing() {
    let mut running = Running::with_tpch_kept_for("2s").await;
    let planned_before = of_schedulers(&running, PLANNED).await;
    let begun_before = of_executors(&running, ATTEMPTS).await;
    let (started, query) = begin(&running, 0, joining).await;
    is_journaled(&running, 0, query).await;
    let before = running.http(0).query(query).await.unwrap();
    assert_eq!(before.epoch.0, 0);
    let planned_by_it = metric(&running, 0, PLANNED).await;
    running.cluster.kill(Role::Scheduler, 0).await.unwrap();
    // Who asks at once is not told that there is no such query.
    let report = running.http(1).query(query).await.unwrap();
    assert_eq!(report.epoch.0, 1, "{report:?}");

    let answer = ask(&running, 1, &started).await.unwrap();
    let report = running.http(1).query(query).await.unwrap();
    agrees(SLOW, &answer).await.unwrap();
    assert_eq!(report.epoch.0, 1, "{report:?}");
    assert_ne!(report.owner, before.owner);
    let name = "paceline_task_attempts_total";
    let launched = labelled(&running, 1, name, "launched").await;
    let tasks: u32 = report.stages.iter().map(|stage| stage.tasks).sum();
    let had = before.stages.iter().map(|stage| stage.done + stage.running);
    let had: u32 = had.sum();
    assert!(
        launched <= f64::from(tasks - had),
        "{had} of {tasks} tasks were done or running before, and {launched} were run after"
    );
    let begun = of_executors(&running, ATTEMPTS).await - begun_before;
    assert_eq!(
        begun,
        f64::from(tasks),
        "a task was begun by the one owner and again by the other"
    );
    let planned = planned_by_it + of_schedulers(&running, PLANNED).await - planned_before;
    assert_eq!(planned, 1.0, "the next owner does not plan it again");
    let seals = labelled(&running, 1, "paceline_journal_seals_total", "won").await;
    assert_eq!(seals, 1.0);
    speaks_of_the_takeover(&running).await;
    nothing_is_left(&running).await;
}

/// What the survivor's metrics say of one takeover of one query.
async fn speaks_of_the_takeover(running: &Running) {
    for name in [
        "paceline_takeover_duration_seconds",
        "paceline_adoption_duration_seconds",
    ] {
        assert_eq!(metric(running, 1, &format!("{name}_count")).await, 1.0);
        let seconds = metric(running, 1, &format!("{name}_sum")).await;
        assert!(seconds > 0.0 && seconds < 60.0, "{name}: {seconds}");
    }
    for name in [
        "paceline_journal_segments",
        "paceline_journal_size_bytes",
        "paceline_journal_delay_seconds_count",
    ] {
        assert!(metric(running, 1, name).await >= 1.0, "{name}");
    }
    let claims = labelled(running, 1, "paceline_journal_claims_total", "won").await;
    assert_eq!(claims, 1.0);
    for operation in ["create", "get", "list", "put"] {
        let requests = "paceline_store_requests_total";
        let labels = format!("operation=\"{operation}\",outcome=\"ok\"");
        let answered = labelled(running, 1, requests, &labels).await;
        assert!(answered >= 1.0, "{operation}: {answered}");
    }
    let broken = "paceline_invariant_violations_total";
    assert_eq!(metric(running, 1, broken).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_at_any_scheduler_gets_the_answer_of_the_same_query() {
    let mut running = Running::start_with(|plan| {
        plan.schedulers = 3;
        kept_for(plan, "5s");
    })
    .await;
    running.create_tpch().await;
    let begun_before = of_executors(&running, ATTEMPTS).await;
    let (started, query) = begin(&running, 0, joining).await;
    is_journaled(&running, 0, query).await;
    // When the owner dies one waits there, and one through another scheduler.
    let there = Coming::begin(&running, 0, &started).await;
    let waiting = tokio::spawn({
        let mut flight = running.flight(2).await;
        let started = started.clone();
        async move { flight.finish(started).await.map_err(|e| e.to_string()) }
    });
    running.cluster.kill(Role::Scheduler, 0).await.unwrap();
    let broken = there.rest().await;
    assert!(broken.is_err(), "its scheduler is gone: {broken:?}");
    let answers = [
        ask(&running, 1, &started).await,
        ask(&running, 2, &started).await,
        waiting.await.unwrap(),
    ];
    let reports = [
        running.http(1).query(query).await.unwrap(),
        running.http(2).query(query).await.unwrap(),
    ];
    for answer in answers {
        agrees(SLOW, &answer.unwrap()).await.unwrap();
    }
    assert_eq!(reports[0].owner, reports[1].owner, "{reports:?}");
    let begun = of_executors(&running, ATTEMPTS).await - begun_before;
    let (_, tasks) = attempts(&reports[0]);
    assert_eq!(begun, f64::from(tasks), "something was run twice");
    let mut adopted = 0.0;
    for scheduler in [1, 2] {
        let name = "paceline_queries_total";
        adopted += labelled(&running, scheduler, name, "adopted").await;
    }
    assert_eq!(adopted, 1.0, "one scheduler and no other one adopted it");
    nothing_is_left(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_journal_held_is_run_afresh_once() {
    let mut running = Running::start_with(|plan| {
        plan.schedulers = 3;
        plan.scheduler_flags
            .extend(flags(&["--scheduler-linger", "600s"]));
        kept_for(plan, "5s");
    })
    .await;
    running.create_tpch().await;
    let (started, query) = begin(&running, 0, midway).await;
    running.cluster.kill(Role::Scheduler, 0).await.unwrap();
    let (one, other) = tokio::join!(ask(&running, 1, &started), ask(&running, 2, &started));
    let report = running.http(1).query(query).await.unwrap();
    for answer in [one, other] {
        agrees(SLOW, &answer.unwrap()).await.unwrap();
    }
    let owners = files_below(&state(&running, "owners"));
    assert_eq!(owners.len(), 1, "{owners:?}");
    assert_eq!(report.epoch.0, 1, "{report:?}");
    let finished = labelled(&running, 1, "paceline_queries_total", "finished").await
        + labelled(&running, 2, "paceline_queries_total", "finished").await;
    assert_eq!(finished, 1.0, "it was run once");
    nothing_is_left(&running).await;
}

/// It lives and writes its beacon, and neither clients nor executors nor its peer reach it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_is_cut_off_is_taken_over_though_its_beacon_goes_on() {
    let running = Running::start_with(|plan| {
        kept_for(plan, "10s");
        plan.doors = true;
        let patient = ["--scheduler-no-executor-grace", "10m"];
        plan.scheduler_flags.extend(flags(&patient));
    })
    .await;
    running.create_tpch().await;
    let id = running.http(0).status().await.unwrap().scheduler;
    let (started, query) = begin(&running, 0, midway).await;
    is_journaled(&running, 0, query).await;
    let cut_off = &running.cluster.schedulers()[0];
    let inside = cut_off.past_doors();
    let mut beside_it = Flight::connect(&inside.flight).await.unwrap();
    cut_off.doors().unwrap().set(Traffic::Cut);
    let waiting = tokio::spawn({
        let started = started.clone();
        async move { beside_it.finish(started).await.map_err(|e| e.to_string()) }
    });
    let answer = ask(&running, 1, &started).await.unwrap();
    assert_eq!(running.http(1).query(query).await.unwrap().epoch.0, 1);
    // Its journal tells it what happened, and it asks the new owner for its clients.
    let late = waiting.await.unwrap().unwrap();
    for answer in [answer, late] {
        agrees(SLOW, &answer).await.unwrap();
    }
    let inside = Http::new(&inside.http);
    until("it goes on under another id", || async {
        (inside.status().await.unwrap().scheduler != id).then_some(())
    })
    .await;
    let doors = running.cluster.schedulers()[0].doors().unwrap();
    assert!(doors.cut_connections() > 0);
    doors.set(Traffic::Flows);
    running.cluster.ready().await.unwrap();
    let again = running.flight(0).await.run(SLOW).await.unwrap();
    agrees(SLOW, &again).await.unwrap();
    nothing_is_left(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_with_a_name_is_one_query_wherever_it_is_sent() {
    let mut running = Running::with_tpch_kept_for("5s").await;
    let planned_before = of_schedulers(&running, PLANNED).await;
    let begun_before = of_executors(&running, ATTEMPTS).await;
    let post = |running: &Running, scheduler: usize, sql: &str| {
        running.post_named(scheduler, "the one and only", sql.to_string())
    };
    let first = tokio::spawn(post(&running, 0, SLOW));
    let http = running.http(0);
    let query = until("it runs", || async {
        let list = http.queries(&Default::default()).await.unwrap();
        let mut mine = list.queries.iter().filter(|report| report.sql == SLOW);
        mine.find(|report| joining(report))
            .map(|report| report.query_id)
    })
    .await;
    is_journaled(&running, 0, query).await;
    let planned_by_it = metric(&running, 0, PLANNED).await;
    running.cluster.kill(Role::Scheduler, 0).await.unwrap();
    assert!(first.await.unwrap().is_err(), "its scheduler is gone");
    let key = Some("the one and only");
    let rows = running.http(1).sql(SLOW, key, ARROW).await.unwrap();
    agrees(SLOW, &read(rows).await).await.unwrap();
    let report = running.http(1).query(query).await.unwrap();
    assert_eq!(report.epoch.0, 1, "the same query: {report:?}");
    let (status, text) = post(&running, 1, SLOW).await.unwrap();
    assert!(status.is_success(), "{text}");
    let (status, again) = post(&running, 1, SLOW).await.unwrap();
    assert!(status.is_success() && again == text, "{again}");
    let planned = planned_by_it + of_schedulers(&running, PLANNED).await - planned_before;
    assert_eq!(planned, 1.0, "it was planned again");
    let begun = of_executors(&running, ATTEMPTS).await - begun_before;
    let (attempts, tasks) = attempts(&report);
    assert_eq!(begun, f64::from(tasks), "{attempts} at the last owner");
    let (status, text) = post(&running, 1, "select 1").await.unwrap();
    assert!(status.is_client_error(), "{status} {text}");
    nothing_is_left(&running).await;
}
