//! Statements that write take effect once, whatever dies meanwhile, and leave nothing behind.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, UInt64Type};
use paceline::client::{Answer, QueryChoice, Started, SubmitRequest};
use paceline_frontend::QueryReport;
use paceline_model::{QueryId, QueryState};
use paceline_testkit::{ClusterPlan, Process, Reference, Role};
use serde_json::Value;

use crate::answers::{check, reference};
use crate::held::{creates_in_doubt, held_up};
use crate::left::{kept_for, nothing_is_left, nothing_is_left_but};
use crate::stored::{changes, entries_of, hold_commit, nothing_else_is_stored, stored_and_named};
use crate::support::{Running, flags, metric, until};
use crate::together::Together;

/// Enough rows for every executor, from a join.
const WRITTEN: &str = "select l.l_orderkey as k, o.o_custkey as c, l.l_extendedprice as p, \
     l.l_shipdate as d, l.l_comment as t from lineitem l join orders o on l.l_orderkey = o.o_orderkey \
     where l.l_orderkey % 3 = 0";

pub(crate) const READ: &str = "select count(*) as n, count(distinct k) as k, sum(c) as c, sum(p) as p, \
     min(d) as d, max(t) as t from written";

/// The number of rows that a write says it wrote.
pub(crate) fn count(answer: &Answer) -> u64 {
    let column = |batch: &RecordBatch| {
        batch
            .column(0)
            .as_primitive::<UInt64Type>()
            .values()
            .to_vec()
    };
    let counts: Vec<u64> = answer.batches.iter().flat_map(column).collect();
    assert_eq!(counts.len(), 1, "one row: {answer:?}");
    assert_eq!(answer.schema.field(0).name(), "count");
    counts[0]
}

/// The process of the first scheduler, which owns what is sent there.
fn owner(running: &mut Running) -> &mut Process {
    let node = running.cluster.node(Role::Scheduler, 0).unwrap();
    node.process().unwrap()
}

/// A cluster with TPC-H and a table `written` that holds one copy of [`WRITTEN`], and a DataFusion
/// that holds the same.
async fn with_table() -> (Running, Reference) {
    with_table_where(|_| {}).await
}

async fn with_table_where(change: impl FnOnce(&mut ClusterPlan)) -> (Running, Reference) {
    let running = Running::start_with(|plan| {
        kept_for(plan, "2s");
        change(plan);
    })
    .await;
    running.create_tpch().await;
    let reference = reference().await;
    let create = format!("create table written as {WRITTEN}");
    running.flight(0).await.run(&create).await.unwrap();
    reference.run(&create).await.unwrap();
    (running, reference)
}

pub(crate) fn insert() -> String {
    format!("insert into written {WRITTEN}")
}

/// A statement that was accepted, and its query.
pub(crate) type Write = (Started, QueryId);

pub(crate) async fn started(running: &Running, scheduler: usize, sql: &str) -> Write {
    let mut flight = running.flight(scheduler).await;
    let started = flight.start(sql).await.unwrap();
    let query = started.query.unwrap();
    (started, query)
}

pub(crate) async fn finished(running: &Running, scheduler: usize, started: &Started) -> Answer {
    let mut flight = running.flight(scheduler).await;
    flight.finish(started.clone()).await.unwrap()
}

/// The rows are there once more than before, in the eyes of each scheduler, and nothing else is.
pub(crate) async fn took_effect_once(running: &Running, reference: &Reference, query: QueryId) {
    reference.run(&insert()).await.unwrap();
    for scheduler in 0..2 {
        let answer = running.flight(scheduler).await.run(READ).await.unwrap();
        check(reference, READ, &answer).await.unwrap();
    }
    let entries = entries_of(running, query);
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["kind"], "append");
    nothing_else_is_stored(running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_scheduler_writes_the_other_reads() {
    let (running, reference) = with_table().await;
    let expected = reference.run(READ).await.unwrap();
    let rows = expected.batches[0]
        .column(0)
        .as_primitive::<Int64Type>()
        .value(0);
    let answer = running.flight(1).await.run(READ).await.unwrap();
    check(&reference, READ, &answer).await.unwrap();
    for (scheduler, sql) in [
        (1, insert()),
        (
            0,
            "insert into written (t, k, c, p, d) values ('by hand', 7, 1, 2.50, date '1999-01-01'), ('ö', 8, 2, 1, date '1901-01-01')".to_string(),
        ),
        (
            1,
            "insert into written select * from written where k < 100".to_string(),
        ),
        (
            0,
            "create table few (a bigint not null, b varchar)".to_string(),
        ),
        (0, "insert into few (a) values (5)".to_string()),
        (
            1,
            "insert into few select k, t from written where k < 10 order by k".to_string(),
        ),
    ] {
        let answer = running.flight(scheduler).await.run(&sql).await.unwrap();
        reference.run(&sql).await.unwrap();
        if sql.starts_with("insert into written select l.") {
            assert_eq!(count(&answer), u64::try_from(rows).unwrap());
        }
        for reader in 0..2 {
            let mut flight = running.flight(reader).await;
            let answer = flight.run(READ).await.unwrap();
            check(&reference, READ, &answer).await.unwrap();
        }
    }
    let sql = "select a, b from few order by a, b";
    let answer = running.flight(0).await.run(sql).await.unwrap();
    assert!(answer.rows() > 2);
    check(&reference, sql, &answer).await.unwrap();
    nothing_else_is_stored(&running).await;

    let refused = running
        .flight(0)
        .await
        .run("insert into few select nullif(k, k), t from written")
        .await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("'a'"), "{refused}");
    running.flight(0).await.run("drop table few").await.unwrap();
    let gone = running.flight(1).await.run(sql).await.unwrap_err();
    assert!(gone.to_string().contains("few"), "{gone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_killed_before_the_commit_writes_once() {
    let (mut running, reference) = with_table().await;
    let (together, commit, outcome) = Together::start(&running).await;
    together.have_files(&running).await;
    together.an_insert_waits_for_its_commit(&running).await;
    held_up(&running, 0, 0.0).await;
    assert!(!together.any_is_committed(&running));
    running.cluster.kill(Role::Scheduler, 0).await.unwrap();
    commit.let_go();
    outcome.let_go();
    together.end_at(&running, 1, 1).await;
    running.cluster.restart(Role::Scheduler, 0).await.unwrap();
    running.cluster.ready().await.unwrap();
    together.took_effect_once(&running, &reference).await;
    nothing_is_left(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submitted_write_whose_owner_is_killed_at_the_commit_takes_effect_once() {
    let (mut running, reference) = with_table().await;
    let request = SubmitRequest {
        sql: insert(),
        ..SubmitRequest::default()
    };
    let held = hold_commit(&running);
    let accepted = running.http(0).submit(&request, Some("tonight")).await;
    let query = accepted.unwrap().query_id;
    held_up(&running, 0, 0.0).await;
    assert_eq!(
        entries_of(&running, query),
        Vec::<Value>::new(),
        "not committed"
    );
    running.cluster.kill(Role::Scheduler, 0).await.unwrap();
    held.let_go();
    let http = running.http(1);
    let report = until("it ends without its client", || async {
        let report = http.query(query).await.unwrap();
        report.state.is_final().then_some(report)
    })
    .await;
    assert_eq!(report.state, QueryState::Finished, "{report:?}");
    assert_eq!(report.epoch.0, 1, "{report:?}");
    running.cluster.restart(Role::Scheduler, 0).await.unwrap();
    running.cluster.ready().await.unwrap();
    // Its client, which never heard what became of it, sends it again.
    for scheduler in 0..2 {
        let http = running.http(scheduler);
        let again = http.submit(&request, Some("tonight")).await.unwrap();
        assert_eq!(again.query_id, query, "it is another one");
    }
    took_effect_once(&running, &reference, query).await;
    nothing_is_left_but(&running, &[query]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_killed_between_commit_and_outcome_writes_once() {
    let (mut running, reference) = with_table().await;
    let (together, commit, outcome) = Together::start(&running).await;
    let outcomes = together.come_to_their_outcomes(&running, commit).await;
    let before = creates_in_doubt(&running, 0).await;
    held_up(&running, 0, before).await;
    running.cluster.kill(Role::Scheduler, 0).await.unwrap();
    for outcome in outcomes.into_iter().chain([outcome]) {
        outcome.let_go();
    }
    together.end_at(&running, 1, 1).await;
    running.cluster.restart(Role::Scheduler, 0).await.unwrap();
    running.cluster.ready().await.unwrap();
    together.took_effect_once(&running, &reference).await;
    // Also who asks when nobody drives them any more is told.
    together.end_at(&running, 0, 1).await;
    nothing_is_left(&running).await;
}

/// What the list of a scheduler says of a query, which everybody who is there tells of once.
async fn listed(running: &Running, scheduler: usize, query: QueryId) -> QueryReport {
    let http = running.http(scheduler);
    let list = http.queries(&QueryChoice::default()).await.unwrap();
    assert!(list.unreachable.is_empty(), "{:?}", list.unreachable);
    let reports = list.queries.into_iter();
    let mut reports: Vec<_> = reports.filter(|it| it.query_id == query).collect();
    assert_eq!(reports.len(), 1, "{reports:?}");
    reports.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_frozen_at_its_commit_writes_once() {
    let (mut running, reference) = with_table().await;
    let id = running.http(0).status().await.unwrap().scheduler;
    let held = hold_commit(&running);
    let (started, query) = started(&running, 0, &insert()).await;
    held_up(&running, 0, 0.0).await;
    owner(&mut running).freeze().unwrap();
    held.let_go();
    let list = running.http(1).queries(&QueryChoice::default()).await;
    let unreachable = list.unwrap().unreachable;
    assert_eq!(
        unreachable,
        std::slice::from_ref(&id),
        "its queries are not listed"
    );
    // Only the other one can have committed: this one stands still.
    assert!(count(&finished(&running, 1, &started).await) > 0);
    let meanwhile = listed(&running, 1, query).await;
    owner(&mut running).thaw().unwrap();
    until("it goes on under another id", || async {
        let status = running.http(0).status().await.unwrap();
        (status.scheduler != id).then_some(())
    })
    .await;
    running.cluster.ready().await.unwrap();
    assert!(count(&finished(&running, 0, &started).await) > 0);
    let adopter = running.http(1).status().await.unwrap().scheduler;
    for report in [meanwhile, listed(&running, 0, query).await] {
        assert_eq!((report.epoch.0, &report.owner), (1, &adopter), "{report:?}");
    }
    took_effect_once(&running, &reference, query).await;
    nothing_is_left(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_killed_while_it_writes_costs_no_row_and_leaves_no_file() {
    // What comes after a write has ended is swept up soon.
    let (mut running, reference) = with_table_where(|plan| {
        let soon = ["--scheduler-dropped-ttl", "4s"];
        plan.scheduler_flags.extend(flags(&soon));
    })
    .await;
    let (together, commit, outcome) = Together::start(&running).await;
    together.have_files(&running).await;
    running.cluster.kill(Role::Executor, 1).await.unwrap();
    let outcomes = together.come_to_their_outcomes(&running, commit).await;
    // Now they are committed, and another one goes.
    running.cluster.kill(Role::Executor, 2).await.unwrap();
    until("both are missed", || async {
        let lost = metric(&running, 0, "paceline_executors_lost_total").await;
        (lost == 2.0).then_some(())
    })
    .await;
    for outcome in outcomes.into_iter().chain([outcome]) {
        outcome.let_go();
    }
    together.end_at(&running, 0, 0).await;
    together.took_effect_once(&running, &reference).await;
    nothing_is_left(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_with_a_name_takes_effect_once_wherever_it_is_sent() {
    let (running, reference) = with_table().await;
    let send = |scheduler: usize, sql: String| running.post_named(scheduler, "tonight", sql);
    let (one, other) = tokio::join!(send(0, insert()), send(1, insert()));
    let later = send(1, insert()).await;
    for answer in [&one, &other, &later] {
        let (status, body) = answer.as_ref().unwrap();
        assert!(status.is_success(), "{status}: {body}");
        assert_eq!(body, &one.as_ref().unwrap().1);
        assert!(body.contains("count"), "{body}");
    }
    let others = send(0, "insert into written select * from written".into()).await;
    let (status, body) = others.unwrap();
    assert_eq!(status, reqwest::StatusCode::CONFLICT, "{body}");
    let appended = changes(&running)
        .into_iter()
        .filter(|change| change["kind"] == "append");
    let queries: Vec<String> = appended
        .map(|change| change["query"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(queries.len(), 1, "{queries:?}");
    took_effect_once(&running, &reference, queries[0].parse().unwrap()).await;
    nothing_is_left(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_leaves_nothing() {
    let (running, reference) = with_table().await;
    let mut flight = running.flight(0).await;
    let sql = "insert into written (k) select l_orderkey / (l_linenumber - 7) from lineitem";
    let started = flight.start(sql).await.unwrap();
    let query = started.query.unwrap();
    let failed = flight
        .finish(started.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(failed.to_lowercase().contains("divi"), "{failed}");
    let again = running.flight(1).await.finish(started).await.unwrap_err();
    assert!(again.to_string().to_lowercase().contains("divi"), "{again}");
    let entries = entries_of(&running, query);
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["kind"], "abandon");
    for reader in 0..2 {
        let answer = running.flight(reader).await.run(READ).await.unwrap();
        check(&reference, READ, &answer).await.unwrap();
    }
    nothing_else_is_stored(&running).await;
    nothing_is_left(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_replaced_meanwhile_gets_nothing() {
    let (mut running, _) = with_table().await;
    let held = hold_commit(&running);
    let (started, query) = started(&running, 0, &insert()).await;
    held_up(&running, 0, 0.0).await;
    let mut flight = running.flight(1).await;
    owner(&mut running).freeze().unwrap();
    held.let_go();
    let replacing = tokio::spawn(async move {
        let sql = "create or replace table written (k bigint)";
        flight.run(sql).await.map_err(|error| error.to_string())
    });
    until("it is replaced", || async {
        let replaced =
            |change: &Value| change["kind"] == "create_table" && change["query"].is_null();
        changes(&running).iter().any(replaced).then_some(())
    })
    .await;
    owner(&mut running).thaw().unwrap();
    replacing.await.unwrap().unwrap();
    let mut flight = running.flight(1).await;
    let failed = flight.finish(started).await.unwrap_err().to_string();
    assert!(failed.contains("dropped or replaced"), "{failed}");
    let entries = entries_of(&running, query);
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["kind"], "abandon");
    let answer = flight.run("select * from written").await.unwrap();
    assert_eq!(answer.rows(), 0);
    nothing_is_left(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_nobody_needs_are_swept_up() {
    let running = Running::start_with(|plan| {
        let flags = flags(&["--scheduler-dropped-ttl", "1s"]);
        plan.scheduler_flags.extend(flags);
        kept_for(plan, "2s");
    })
    .await;
    let mut flight = running.flight(0).await;
    flight
        .run("create table stays as select 1 as a")
        .await
        .unwrap();
    flight
        .run("create table goes as select 2 as a")
        .await
        .unwrap();
    let (stored, named) = stored_and_named(&running);
    assert_eq!((stored.len(), &stored), (2, &named));
    // As of an executor that was cut off, and came back when its query had ended.
    for file in &stored {
        std::fs::write(file.with_file_name("9-9-9-9.parquet"), b"late").unwrap();
    }
    nothing_else_is_stored(&running).await;
    // As once the outcomes have had their time: the log alone knows of the table then.
    std::fs::remove_dir_all(running.directory.path().join("state/queries")).unwrap();
    flight.run("drop table goes").await.unwrap();
    until("the dropped table's files are gone", || async {
        (stored_and_named(&running).0.len() == 1).then_some(())
    })
    .await;
    let answer = running
        .flight(1)
        .await
        .run("select a from stays")
        .await
        .unwrap();
    assert_eq!(answer.rows(), 1);
    nothing_is_left(&running).await;
}
