//! A scheduler stands still, is taken over, and goes on: it learns what happened, and serves its clients.

use paceline::client::{Answer, QueryChoice};
use paceline_model::QueryId;
use paceline_testkit::{Process, Role};
use tokio::task::JoinHandle;

use crate::answers::agrees;
use crate::api::{ARROW, read};
use crate::held::SealAside;
use crate::leaving::Coming;
use crate::left::{is_journaled, kept_and_waited_for, kept_for, nothing_is_left};
use crate::metrics::labelled_of_executors;
use crate::support::{Running, SLOW, labelled, metric, midway, until};
use crate::takeover::{ask, begin};

/// A client that waits over HTTP at the first scheduler, under a name.
struct Waiting {
    query: QueryId,
    answer: JoinHandle<Result<Answer, String>>,
}

impl Waiting {
    /// Returns once the scheduler has its query.
    async fn begin(running: &Running) -> Waiting {
        // What follows the statement only tells it from the other one.
        let sql = format!("{SLOW} --over HTTP");
        let http = running.http(0);
        let answer = tokio::spawn({
            let (http, sql) = (http.clone(), sql.clone());
            async move {
                let rows = http.sql(&sql, Some("while it is frozen"), ARROW).await;
                let rows = rows.map_err(|error| error.to_string())?;
                Ok::<_, String>(read(rows).await)
            }
        });
        let query = until("it is accepted", || async {
            let list = http.queries(&QueryChoice::default()).await.unwrap();
            let mut mine = list.queries.iter().filter(|report| report.sql == sql);
            mine.next().map(|report| report.query_id)
        })
        .await;
        Waiting { query, answer }
    }
}

fn first(running: &mut Running) -> &mut Process {
    let node = running.cluster.node(Role::Scheduler, 0).unwrap();
    node.process().unwrap()
}

/// Stops the first scheduler, and returns once it stands still.
async fn freeze(running: &mut Running) {
    let process = first(running);
    process.freeze().unwrap();
    let stat = format!("/proc/{}/stat", process.id().unwrap());
    until("it stands still", || async {
        let stat = std::fs::read_to_string(&stat).unwrap();
        let (_, state) = stat.rsplit_once(") ").unwrap();
        state.starts_with('T').then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_scheduler_is_taken_over_and_goes_on_under_another_id() {
    // Executors have to hold its queries still when it is thawed, and nobody waits for one of them
    // meanwhile.
    let mut running = Running::start_with(|plan| kept_and_waited_for(plan, "25s", "60s")).await;
    running.create_tpch().await;
    let id = running.http(0).status().await.unwrap().scheduler;
    let (started, query) = begin(&running, 0, midway).await;
    let waiting = Coming::begin(&running, 0, &started).await;
    let named = Waiting::begin(&running).await;
    is_journaled(&running, 0, query).await;
    assert_eq!(refused_appends(&running).await, 0.0);
    assert!(!named.answer.is_finished(), "it was answered too soon");
    freeze(&mut running).await;
    until("its peer sees that its beacon stands still", || async {
        let age = labelled(&running, 1, "paceline_peer_beacon_age_seconds", id.as_str()).await;
        (age >= 1.0).then_some(())
    })
    .await;
    let answer = ask(&running, 1, &started).await.unwrap();
    for query in [query, named.query] {
        let report = running.http(1).query(query).await.unwrap();
        assert_eq!(report.epoch.0, 1, "{report:?}");
    }
    let seals = labelled(&running, 1, "paceline_journal_seals_total", "won").await;
    assert_eq!(seals, 1.0);

    // Its journal does not tell it at first, so executors do: they refuse its commands.
    let seal = SealAside::put(&running, &id).await;
    first(&mut running).thaw().unwrap();
    until("executors tell it that they obey another one", || async {
        let refused = "paceline_executor_refused_commands_total";
        let refused = labelled_of_executors(&running, refused, "stale_epoch").await;
        let overtaken = metric(&running, 0, "paceline_overtaken_total").await;
        (refused + overtaken > 0.0).then_some(())
    })
    .await;
    assert_eq!(refused_appends(&running).await, 0.0);
    freeze(&mut running).await;
    seal.put_back();
    first(&mut running).thaw().unwrap();
    let late = waiting.rest().await.unwrap();
    let named = named.answer.await.unwrap().unwrap();
    for answer in [answer, late, named] {
        agrees(SLOW, &answer).await.unwrap();
    }
    let http = running.http(0);
    until("it goes on under another id", || async {
        (http.status().await.unwrap().scheduler != id).then_some(())
    })
    .await;
    assert_eq!(metric(&running, 0, "paceline_fenced_total").await, 1.0);
    // Whatever made it doubt, an append told it for certain: the place was taken by a seal.
    assert!(refused_appends(&running).await >= 1.0);
    running.cluster.ready().await.unwrap();
    let again = running.flight(0).await.run(SLOW).await.unwrap();
    agrees(SLOW, &again).await.unwrap();
    // So its former journal has a seal and nothing after that.
    nothing_is_left(&running).await;
}

/// Appends of the first scheduler that met a seal.
async fn refused_appends(running: &Running) -> f64 {
    labelled(running, 0, "paceline_journal_appends_total", "sealed").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_was_frozen_idle_knows_what_was_changed_meanwhile() {
    let mut running = Running::start_with(|plan| kept_for(plan, "2s")).await;
    let id = running.http(0).status().await.unwrap().scheduler;
    freeze(&mut running).await;
    // Acknowledged once it has missed its beats.
    let create = "create view meanwhile as select 7 as n";
    running.flight(1).await.run(create).await.unwrap();
    // It never wrote anything, so what lies there is a seal.
    let journal = running.directory.path().join("state/journal");
    let journal = journal.join(id.as_str());
    until("it is taken over", || async {
        journal.exists().then_some(())
    })
    .await;
    first(&mut running).thaw().unwrap();
    let mut flight = running.flight(0).await;
    let answer = flight.run("select n from meanwhile").await.unwrap();
    assert_eq!(answer.rows(), 1);

    // It drives nothing, and still learns that it was taken over; from then on it is told again.
    let http = running.http(0);
    until("it goes on under another id", || async {
        (http.status().await.unwrap().scheduler != id).then_some(())
    })
    .await;
    until("its peer knows it", || async {
        let status = running.http(1).status().await.unwrap();
        let live = status.schedulers.iter().filter(|s| s.live);
        (live.count() == 2).then_some(())
    })
    .await;
    running
        .flight(1)
        .await
        .run("drop view meanwhile")
        .await
        .unwrap();
    let gone = flight.run("select n from meanwhile").await.unwrap_err();
    assert!(gone.to_string().contains("meanwhile"), "{gone}");
    nothing_is_left(&running).await;
}
