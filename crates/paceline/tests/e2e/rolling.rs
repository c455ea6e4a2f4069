//! Every scheduler is stopped and started again in turn, while clients of every kind are at work. They turn
//! to the next scheduler if one is not there, which they must not need for anything else.

use std::time::Duration;

use paceline_model::QueryId;
use paceline_testkit::Role;
use tokio_util::sync::CancellationToken;

use crate::answers::{check, reference};
use crate::leaving::leaves;
use crate::left::nothing_is_left_but;
use crate::storm::asking::{Asking, Had, Question, Turned};
use crate::storm::forecast::Way;
use crate::storm::world::Addresses;
use crate::support::Running;
use crate::writes::count;

pub(crate) const SMALL: &str =
    "select n_regionkey, count(*) as n from nation group by n_regionkey order by 1";

/// The rows of [`SMALL`], and those that one [`WRITE`] adds.
pub(crate) const REGIONS: usize = 5;

const SCHEDULERS: usize = 2;

const CREATE: &str = "create table counted as \
     select n_regionkey as r, count(*) as n from nation group by n_regionkey";

pub(crate) const WRITE: &str =
    "insert into counted select n_regionkey, count(*) from nation group by n_regionkey";

const COUNTED: &str = "select r, count(*) as c, sum(n) as n from counted group by r order by r";

/// What a client sees of a scheduler that has left: nobody listens there.
const REFUSED: [&str; 2] = ["Connection refused", "tcp connect error"];

/// What it sees if that one was about to be gone: it closes also connections of which it has read nothing.
const BROKEN: [&str; 7] = [
    "h2 protocol error",
    "transport error",
    "connection error",
    "operation was canceled",
    "connection closed before message completed",
    "Connection reset by peer",
    "Broken pipe",
];

/// What one that leaves answers if it finds nobody to send a statement on to.
const LEAVES: [&str; 1] = ["this scheduler is shutting down"];

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
    for scheduler in 0..SCHEDULERS {
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
            // And one was at its commit whenever one of them left.
            each_is_there_once(&running, came.answers + SCHEDULERS).await;
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
    for scheduler in 0..SCHEDULERS {
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

/// Whether a try failed in a way that every client has to expect while schedulers come and go. What was
/// being answered is answered to its end.
fn is_part_of_leaving(turned: &Turned) -> bool {
    let says = |words: &[&str]| words.iter().any(|words| turned.why.contains(words));
    match turned.had {
        // Over HTTP nobody can tell that it had arrived. Who waits for an answer there and asks but once
        // is among those that see a scheduler leave.
        Had::Nothing => says(&REFUSED) || says(&BROKEN) || says(&LEAVES),
        // The scheduler that gave it is gone since, and this one is as well.
        Had::Ticket => says(&REFUSED) || says(&LEAVES),
        Had::Answer => false,
    }
}

#[test]
fn tries_that_fail_for_no_good_reason_are_noticed() {
    let fails = |had, why: &str| {
        let why = why.to_string();
        !is_part_of_leaving(&Turned { had, why })
    };
    let refused = "cannot reach 127.0.0.1:1: tcp connect error; is a scheduler running there?";
    assert!(!fails(Had::Nothing, refused));
    assert!(!fails(Had::Ticket, refused));
    assert!(fails(Had::Answer, refused));
    let broken = "connection closed before message completed";
    assert!(!fails(Had::Nothing, broken));
    assert!(fails(Had::Ticket, broken));
    assert!(!fails(
        Had::Ticket,
        "this scheduler is shutting down: ask another one"
    ));
    assert!(fails(Had::Nothing, "no answer within 10s"));
    assert!(fails(Had::Nothing, "an output of stage 1 is lost"));
}

impl Came {
    fn note(&mut self, rows: Result<usize, String>, turned: &[Turned]) {
        match rows {
            Ok(REGIONS) => self.answers += 1,
            Ok(rows) => self.failures.push(format!("{rows} rows")),
            Err(problem) => self.failures.push(problem),
        }
        let failed = turned.iter().filter(|turned| !is_part_of_leaving(turned));
        self.failures.extend(failed.map(ToString::to_string));
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
        let rows = asking.answer().await.map(|answer| match writes {
            true => usize::try_from(count(&answer)).unwrap(),
            false => answer.rows(),
        });
        came.note(rows, &seen.borrow().turned);
        if way == Way::Submitted {
            came.kept.extend(seen.borrow().query);
        }
        tokio::time::sleep(PAUSE).await;
    }
    came
}
