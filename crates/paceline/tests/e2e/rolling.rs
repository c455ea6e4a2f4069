//! Every scheduler is stopped and started again in turn, while clients of every kind are at work.

use std::time::Duration;

use paceline_model::QueryId;
use paceline_testkit::Role;
use tokio_util::sync::CancellationToken;

use crate::answers::{check, reference};
use crate::leaving::leaves;
use crate::left::nothing_is_left_but;
use crate::storm::asking::{Asking, Question};
use crate::storm::forecast::Way;
use crate::storm::world::Addresses;
use crate::support::Running;
use crate::writes::count;

pub(crate) const SMALL: &str =
    "select n_regionkey, count(*) as n from nation group by n_regionkey order by 1";

/// The rows of [`SMALL`], and those that one [`WRITE`] adds.
const REGIONS: usize = 5;

const CREATE: &str = "create table counted as \
     select n_regionkey as r, count(*) as n from nation group by n_regionkey";

const WRITE: &str =
    "insert into counted select n_regionkey, count(*) from nation group by n_regionkey";

const COUNTED: &str = "select r, count(*) as c, sum(n) as n from counted group by r order by r";

/// Between two questions: it is not the load that is measured, and it leaves both cores something to spare.
const PAUSE: Duration = Duration::from_millis(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_query() {
    let mut running = Running::with_tpch_kept_for("5s").await;
    running.flight(0).await.run(CREATE).await.unwrap();
    let stop = CancellationToken::new();
    let ways = [Way::Flight, Way::Named, Way::Submitted, Way::Written];
    let load = ways.map(|way| {
        let asked = keep_asking(way, addresses(&running), stop.clone());
        tokio::spawn(asked)
    });
    let mut kept = Vec::new();
    for scheduler in 0..2 {
        kept.extend(leaves(&mut running, scheduler).await);
        let starting = running.cluster.restart(Role::Scheduler, scheduler);
        starting.await.unwrap();
        running.cluster.ready().await.unwrap();
    }
    stop.cancel();
    for (way, client) in ways.into_iter().zip(load) {
        let came = client.await.unwrap();
        assert_eq!(came.failures, Vec::<String>::new());
        assert!(came.answers >= 5, "it was hardly asked: {came:?}");
        kept.extend(came.kept);
        if way == Way::Written {
            each_is_there_once(&running, came.answers).await;
        }
    }
    nothing_is_left_but(&running, &kept).await;
}

/// The rows of so many [`WRITE`]s are there, in the eyes of each scheduler, and no others.
async fn each_is_there_once(running: &Running, writes: usize) {
    let reference = reference().await;
    reference.run(CREATE).await.unwrap();
    for _ in 0..writes {
        reference.run(WRITE).await.unwrap();
    }
    for scheduler in 0..2 {
        let answer = running.flight(scheduler).await.run(COUNTED).await.unwrap();
        check(&reference, COUNTED, &answer).await.unwrap();
    }
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
        let writes = way == Way::Written;
        let sql = if writes { WRITE } else { SMALL };
        let question = Question {
            way,
            entry: turn,
            sql: sql.to_string(),
            key: format!("{way:?} {turn}"),
            holds: false,
        };
        let asking = Asking::begin(question, addresses.clone());
        let seen = asking.seen.clone();
        came.note(asking.answer().await.map(|answer| match writes {
            true => usize::try_from(count(&answer)).unwrap(),
            false => answer.rows(),
        }));
        if way == Way::Submitted {
            came.kept.extend(seen.borrow().query);
        }
        tokio::time::sleep(PAUSE).await;
    }
    came
}
