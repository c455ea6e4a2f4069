//! Every scheduler is stopped and started again in turn, while clients of every kind are at work.

use std::time::Duration;

use paceline_model::QueryId;
use paceline_testkit::Role;
use tokio_util::sync::CancellationToken;

use crate::answers::agrees;
use crate::left::nothing_is_left_but;
use crate::storm::asking::{Asking, Question};
use crate::storm::forecast::Way;
use crate::storm::world::Addresses;
use crate::support::{Running, SLOW, midway};
use crate::takeover::{ask, begin};

const SMALL: &str = "select n_regionkey, count(*) as n from nation group by n_regionkey order by 1";

/// The rows of [`SMALL`].
const REGIONS: usize = 5;

/// Between two questions: it is not the load that is measured, and it leaves both cores something to spare.
const PAUSE: Duration = Duration::from_millis(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_query() {
    let mut running = Running::with_tpch_kept_for("5s").await;
    let stop = CancellationToken::new();
    let load = [Way::Flight, Way::Named, Way::Submitted].map(|way| {
        let asked = keep_asking(way, addresses(&running), stop.clone());
        tokio::spawn(asked)
    });
    for scheduler in 0..2 {
        let (started, query) = begin(&running, scheduler, midway).await;
        let stopping = running.cluster.stop(Role::Scheduler, scheduler);
        stopping.await.unwrap();
        let other = 1 - scheduler;
        let answer = ask(&running, other, &started).await.unwrap();
        let report = running.http(other).query(query).await.unwrap();
        assert_eq!(report.epoch.0, 1, "it was handed over: {report:?}");
        agrees(SLOW, &answer).await.unwrap();
        let starting = running.cluster.restart(Role::Scheduler, scheduler);
        starting.await.unwrap();
        running.cluster.ready().await.unwrap();
    }
    stop.cancel();
    let mut kept = Vec::new();
    for client in load {
        let came = client.await.unwrap();
        assert_eq!(came.failures, Vec::<String>::new());
        assert!(came.answers >= 5, "it was hardly asked: {came:?}");
        kept.extend(came.kept);
    }
    nothing_is_left_but(&running, &kept).await;
}

/// What a client has come to.
#[derive(Debug, Default)]
struct Came {
    answers: usize,
    failures: Vec<String>,
    /// Queries whose results are kept.
    kept: Vec<QueryId>,
}

impl Came {
    fn note(&mut self, rows: Result<usize, String>) {
        match rows {
            Ok(REGIONS) => self.answers += 1,
            Ok(rows) => self.failures.push(format!("{rows} rows")),
            Err(problem) => self.failures.push(problem),
        }
    }
}

fn addresses(running: &Running) -> Addresses {
    let mut addresses = Addresses::default();
    for node in running.cluster.schedulers() {
        addresses.flight.push(node.announced().flight.clone());
        addresses.http.push(node.announced().http.clone());
    }
    addresses
}

/// A client that begins with another scheduler each time, and tries the next one when nobody answers.
async fn keep_asking(way: Way, addresses: Addresses, stop: CancellationToken) -> Came {
    let mut came = Came::default();
    let mut turn = 0;
    while !stop.is_cancelled() {
        turn += 1;
        let question = Question {
            way,
            entry: turn,
            sql: SMALL.to_string(),
            key: format!("{way:?} {turn}"),
            holds: false,
        };
        let asking = Asking::begin(question, addresses.clone());
        let seen = asking.seen.clone();
        came.note(asking.answer().await.map(|answer| answer.rows()));
        if way == Way::Submitted {
            came.kept.extend(seen.borrow().query);
        }
        tokio::time::sleep(PAUSE).await;
    }
    came
}
