//! Queries that run by themselves: through deaths of schedulers, one or all.

use std::path::PathBuf;

use paceline::client::SubmitRequest;
use paceline_model::{QueryId, SchedulerId};
use paceline_testkit::Role;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::answers::agrees;
use crate::api::{Api, FORMATS, LARGE, NAME, NAMED, id, keys_of};
use crate::held::{Held, creates_in_doubt, held_up};
use crate::left::{is_journaled, nothing_is_left, nothing_is_left_but};
use crate::support::{
    Running, SLOW, attempts, flags, joining, labelled, of_executors, of_schedulers, until,
};
use crate::takeover::ATTEMPTS;

const SMALL: &str = "select count(*) as n from region";

/// Billions of rows, of which none is ever seen: for each row of one side there are tens of thousands.
const ENDLESS: &str = "select count(*) as n, sum(a.l_orderkey + b.l_orderkey) as k \
     from lineitem a join lineitem b on a.l_linenumber = b.l_linenumber";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submitted_query_outlives_its_scheduler() {
    // Before silence alone told of a death the test would be over for long.
    let mut running = Running::start_with(|plan| {
        let patient = ["--scheduler-takeover-after", "10m"];
        plan.scheduler_flags.extend(flags(&patient));
    })
    .await;
    running.create_tpch().await;
    let api = Api::of(&running);
    let (status, accepted) = api.submit(0, SLOW, Some("nightly")).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{accepted}");
    let query = id(&accepted);
    let before = api.midway(1, &query).await;
    assert!(before["planning_seconds"].as_f64() > Some(0.0), "{before}");
    let (status, _) = api.get(1, &format!("{query}/results")).await;
    assert_eq!(status, StatusCode::CONFLICT, "it has not ended");
    let (limited, outcome) = Limited::submit(&running, &api).await;
    running.cluster.kill(Role::Scheduler, 0).await.unwrap();
    outcome.let_go();

    is_taken_over(&running, &query).await;
    let report = api.ended(1, &query, "finished").await;
    assert_eq!(report["epoch"], 1, "{report}");
    assert_eq!(report["accepted_at"], before["accepted_at"], "{report}");
    let planning = |of: &Value| of["planning_seconds"].as_f64().unwrap();
    let differ = (planning(&report) - planning(&before)).abs();
    assert!(differ < 1e-5, "{report}, and {before}");
    agrees(SLOW, &api.whole(1, &query).await).await.unwrap();
    let (status, again) = api.submit(1, SLOW, Some("nightly")).await;
    assert!(status.is_success(), "{again}");
    assert_eq!(id(&again), query, "the same name is the same query");
    let (status, other) = api.submit(1, "select 1", Some("nightly")).await;
    assert_eq!(status, StatusCode::CONFLICT, "{other}");
    limited.end_in_time(&api).await;

    // None of those lives that ever had the result in memory.
    running.cluster.kill(Role::Scheduler, 1).await.unwrap();
    start_schedulers(&mut running).await;
    for scheduler in 0..2 {
        let answer = api.whole(scheduler, &query).await;
        agrees(SLOW, &answer).await.unwrap();
    }
    let kept: [QueryId; 2] = [query, limited.brief].map(|query| query.parse().unwrap());
    nothing_is_left_but(&running, &kept).await;
}

/// Queries of which a client said how long something may take. None comes to its end at the scheduler that
/// accepted it, which is the first one.
struct Limited {
    /// Its result is kept for a second.
    brief: String,
    /// It may take two.
    hurried: String,
}

impl Limited {
    async fn submit(running: &Running, api: &Api) -> (Limited, Held) {
        let outcome = Held::up(running, &format!("queries/{NAMED}/finished"));
        let brief = json!({ "sql": SMALL, "result_ttl": "1s" });
        let (status, accepted) = api.send(0, brief, Some(NAME)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{accepted}");
        let brief = id(&accepted);
        assert_eq!(brief, NAMED);
        let hurried = json!({ "sql": ENDLESS, "timeout": "2s" });
        let (status, accepted) = api.send(0, hurried, None).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{accepted}");
        let hurried = id(&accepted);
        (Limited { brief, hurried }, outcome)
    }

    /// What was said to the first owner holds at the next one.
    async fn end_in_time(&self, api: &Api) {
        let report = api.ended(1, &self.hurried, "failed").await;
        assert_eq!(report["epoch"], 1, "{report}");
        assert_eq!(report["error"]["class"], "deadline_exceeded", "{report}");
        let said = report["error"]["message"].as_str().unwrap();
        assert!(said.contains("limit of 2s"), "{report}");
        let report = api.ended(1, &self.brief, "finished").await;
        assert_eq!(report["epoch"], 1, "{report}");
        its_time_is_over(api, &self.brief).await;
    }
}

/// Waits until another scheduler has claimed a query, without asking it: that would wait for as long.
async fn is_taken_over(running: &Running, query: &str) {
    let first = 1;
    let claim = format!("state/owners/{query}/{first:020}");
    let claim = running.directory.path().join(claim);
    until("it is taken over", || async {
        claim.exists().then_some(())
    })
    .await;
}

async fn its_time_is_over(api: &Api, query: &str) {
    until("its time is over", || async {
        let (status, _) = api.get(1, &format!("{query}/results")).await;
        (status == StatusCode::GONE).then_some(())
    })
    .await;
}

async fn start_schedulers(running: &mut Running) {
    for scheduler in 0..2 {
        let starting = running.cluster.restart(Role::Scheduler, scheduler);
        starting.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submitted_queries_go_on_when_all_schedulers_were_dead() {
    let mut running = Running::with_tpch().await;
    let api = Api::of(&running);
    let owner = running.http(0).status().await.unwrap().scheduler;
    let recorded = is_told_once_it_is_recorded(&running, &owner).await;
    api.ended(0, &recorded.to_string(), "finished").await;
    let begun_before = of_executors(&running, ATTEMPTS).await;
    let claim = Held::up(&running, &format!("queries/{NAMED}/submitted"));
    let (status, refused) = api.submit(0, SMALL, Some(NAME)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{refused}");
    let (_, accepted) = api.submit(0, SLOW, None).await;
    let query = id(&accepted);
    joins(&running, query.parse().unwrap()).await;
    is_journaled(&running, 0, query.parse().unwrap()).await;
    running.cluster.kill_all(Role::Scheduler).await.unwrap();
    claim.let_go();
    start_schedulers(&mut running).await;
    let report = api.ended(0, &query, "finished").await;
    assert!(report["epoch"].as_u64() >= Some(1), "{report}");
    let mut taken_back =
        of_schedulers(&running, "paceline_exchange_outputs_taken_back_total").await;
    for scheduler in 0..2 {
        let name = "paceline_task_attempts_total";
        taken_back += labelled(&running, scheduler, name, "taken_back").await;
    }
    assert!(taken_back > 0.0, "executors came back with nothing");
    for scheduler in 0..2 {
        let answer = api.whole(scheduler, &query).await;
        agrees(SLOW, &answer).await.unwrap();
    }
    the_claim_was_made_for(&running, &api, &owner).await;
    let kept: [QueryId; 2] = [query.as_str(), NAMED].map(|query| query.parse().unwrap());
    // Neither what was finished when they died nor what ran was begun again.
    let mut tasks = 0;
    for query in kept {
        let report = running.http(0).query(query).await.unwrap();
        tasks += attempts(&report).1;
    }
    let begun = of_executors(&running, ATTEMPTS).await - begun_before;
    assert_eq!(begun, f64::from(tasks), "a task was begun twice");
    nothing_is_left_but(&running, &[kept[0], kept[1], recorded]).await;
}

/// Waits until all tasks of the join of a query run at the first scheduler.
async fn joins(running: &Running, query: QueryId) {
    let http = running.http(0);
    until("it joins", || async {
        let report = http.query(query).await.unwrap();
        assert!(!report.state.is_final(), "it ended too soon: {report:?}");
        joining(&report).then_some(())
    })
    .await;
}

/// A client hears of its query once that is in the journal of the scheduler it was sent to, the first one.
async fn is_told_once_it_is_recorded(running: &Running, owner: &SchedulerId) -> QueryId {
    let next = next_segment(running, owner);
    let segment = Held::up(running, &format!("journal/{owner}/{next:020}"));
    let before = creates_in_doubt(running, 0).await;
    let http = running.http(0);
    let sending = tokio::spawn(async move {
        let request = SubmitRequest {
            sql: SMALL.to_string(),
            ..SubmitRequest::default()
        };
        http.submit(&request, None).await
    });
    // Once it was sent again as well, an answer that did not wait would be here.
    held_up(running, 0, before + 1.0).await;
    assert!(!sending.is_finished(), "no journal holds it yet");
    segment.let_go();
    let accepted = sending.await.unwrap().unwrap();
    accepted.query_id
}

/// The number that the next segment of a journal gets.
fn next_segment(running: &Running, journal: &SchedulerId) -> u64 {
    let folder: PathBuf = running.directory.path().join("state/journal");
    let entries = std::fs::read_dir(folder.join(journal.as_str()));
    let names = entries.into_iter().flatten().flatten();
    let numbers = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    numbers.max().map_or(0, |last| last + 1)
}

/// What a journal held of a query was carried on, with the claim that the scheduler of that journal did not
/// come to make; who sends it again finds it.
async fn the_claim_was_made_for(running: &Running, api: &Api, owner: &SchedulerId) {
    let report = api.ended(1, NAMED, "finished").await;
    assert!(report["epoch"].as_u64() >= Some(1), "{report}");
    assert_eq!(report["result"]["rows"], 1, "{report}");
    let claim = format!("state/queries/{NAMED}/submitted");
    let claim = std::fs::read(running.directory.path().join(claim)).unwrap();
    let claim = String::from_utf8_lossy(&claim);
    assert!(claim.contains(&format!("\"by\":\"{owner}\"")), "{claim}");
    let (status, again) = api.submit(1, SMALL, Some(NAME)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{again}");
    assert_eq!(id(&again), NAMED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_kept_for_their_time_and_failures_told() {
    let running = Running::with_tpch().await;
    let api = Api::of(&running);
    is_read_by_page_in_every_format(&api).await;
    is_cancelled_at_the_other_one(&api).await;

    let (_, accepted) = api
        .submit(
            0,
            "select 1 / (n_nationkey - n_nationkey) from nation",
            None,
        )
        .await;
    let query = id(&accepted);
    let report = api.ended(1, &query, "failed").await;
    assert!(report["error"]["message"].as_str().is_some(), "{report}");
    let (status, body) = api.get(1, &format!("{query}/results")).await;
    assert_eq!(
        status,
        StatusCode::BAD_REQUEST,
        "{}",
        String::from_utf8_lossy(&body)
    );
    // What has ended stays as it ended, whoever is told to cancel it.
    for scheduler in 0..2 {
        let status = api.cancel(scheduler, &query).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(api.report(scheduler, &query).await["state"], "failed");
    }

    let brief = json!({ "sql": "select 1 as n from nation", "result_ttl": "1s" });
    let (_, accepted) = api.send(0, brief, None).await;
    let query = id(&accepted);
    api.ended(1, &query, "finished").await;
    its_time_is_over(&api, &query).await;
    assert_eq!(api.report(0, &query).await["state"], "finished");

    let hurried = json!({ "sql": SLOW, "timeout": "200ms" });
    let (_, accepted) = api.send(0, hurried, None).await;
    let report = api.ended(1, &id(&accepted), "failed").await;
    let said = report["error"]["message"].as_str().unwrap().to_string();
    assert!(said.contains("200ms"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_of_a_cancel_may_rely_on_it() {
    let mut running = Running::with_tpch().await;
    let api = Api::of(&running);
    let (status, accepted) = api.submit(0, ENDLESS, Some(NAME)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{accepted}");
    let query = id(&accepted);
    assert_eq!(query, NAMED);
    api.midway(1, &query).await;
    let outcome = Held::up(&running, &format!("queries/{NAMED}/finished"));
    let before = creates_in_doubt(&running, 0).await;
    let mut cancelling = std::pin::pin!(api.cancel(1, &query));
    tokio::select! {
        status = &mut cancelling => panic!("{status}, and it has no outcome"),
        () = held_up(&running, 0, before) => {}
    }
    outcome.let_go();
    assert_eq!(cancelling.await, StatusCode::NO_CONTENT);
    running.cluster.kill(Role::Scheduler, 0).await.unwrap();

    assert_eq!(api.report(1, &query).await["state"], "cancelled");
    let (status, again) = api.submit(1, ENDLESS, Some(NAME)).await;
    assert!(status.is_success(), "{again}");
    assert_eq!(
        (id(&again), &again["state"]),
        (query.clone(), &json!("cancelled"))
    );
    let starting = running.cluster.restart(Role::Scheduler, 0);
    starting.await.unwrap();
    assert_eq!(api.report(0, &query).await["state"], "cancelled");
    nothing_is_left(&running).await;
}

/// A stored result of several pages is the same however it is read, at a scheduler that did not run it.
async fn is_read_by_page_in_every_format(api: &Api) {
    let (_, accepted) = api.submit(0, LARGE, None).await;
    let query = id(&accepted);
    let report = api.ended(1, &query, "finished").await;
    let whole = api.whole(1, &query).await;
    agrees(LARGE, &whole).await.unwrap();
    assert_eq!(report["result"]["rows"], whole.rows(), "{report}");
    let keys = keys_of(&whole);
    for format in FORMATS {
        let pages = api.pages(1, &query, format).await;
        assert!(pages.len() > 1, "it has one page: {report}");
        assert_eq!(report["result"]["pages"], pages.len(), "{format}");
        assert_eq!(pages.concat(), keys, "{format}");
    }
    let (status, _) = api.get(1, &format!("{query}/results?page=999")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

/// A query that runs ends when a scheduler is told so that does not drive it.
async fn is_cancelled_at_the_other_one(api: &Api) {
    let (_, accepted) = api.submit(0, ENDLESS, None).await;
    let query = id(&accepted);
    api.midway(1, &query).await;
    assert_eq!(api.cancel(1, &query).await, StatusCode::NO_CONTENT);
    for scheduler in 0..2 {
        api.ended(scheduler, &query, "cancelled").await;
        let (status, _) = api.get(scheduler, &format!("{query}/results")).await;
        assert_eq!(status.as_u16(), 499);
    }
}
