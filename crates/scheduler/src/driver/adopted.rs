//! Queries that were adopted, before executors have said what they hold of them.

use paceline_model::{ExecutorId, QueryState};
use paceline_proto::cluster::from_scheduler::Message;
use paceline_proto::state::Known;

use super::tests::{Stream, attach, driver, launched};
use super::*;
use crate::testing::{holding_nothing, planned};
use crate::written::{legacy, statement};

/// Within which an executor is not waited for any more.
const LIMIT: Duration = Duration::from_secs(10);

/// Adopts a query of one task, of which its former owner's journal tells nothing but the statement.
fn adopt(driver: &Driver) -> QueryId {
    let planned = planned(1);
    let known = Known {
        statement: statement(&planned),
        ..Known::default()
    };
    let left = legacy(known);
    let graph = Arc::clone(&left.plan.as_ref().unwrap().graph);
    driver.adopt(planned.query, Epoch(1), graph, left);
    planned.query
}

/// The executor `x` says that it holds nothing of a query.
fn holds_nothing(driver: &Driver, query: QueryId) {
    let answer = holding_nothing(query, Epoch(1));
    driver.answered(&ExecutorId::new("x"), vec![answer]);
}

/// Whether the executor was told of the adoption and of nothing else.
fn is_asked(told: &mut Stream) -> bool {
    let first = told.try_recv().ok().and_then(|told| told.message);
    matches!(first, Some(Message::Adopt(_))) && told.try_recv().is_err()
}

fn state(driver: &Driver, query: QueryId) -> QueryState {
    let state = driver.with_record(&query, |record| record.state);
    state.expect("it is on the shelf")
}

#[tokio::test]
async fn an_executor_that_does_not_answer_is_not_waited_for_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let driver = driver(directory.path());
    let mut told = attach(&driver);
    let query = adopt(&driver);
    assert!(is_asked(&mut told), "nothing is run before it can answer");
    let waits = || driver.state.lock().adopting.contains_key(&query);
    assert!(waits());
    let deadline = Instant::now() + LIMIT;
    while waits() {
        assert!(Instant::now() < deadline, "it is waited for still");
        driver.tidy();
        #[expect(
            clippy::disallowed_methods,
            reason = "the driver looks at its clock; there is a deadline"
        )]
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let launch = launched(&driver, &mut told).await;
    assert_eq!((launch.epoch, launch.tasks.len()), (1, 1));
}

#[tokio::test]
async fn what_is_cancelled_before_executors_have_answered_is_not_run_when_they_have() {
    let directory = tempfile::tempdir().unwrap();
    let driver = driver(directory.path());
    let mut told = attach(&driver);
    let query = adopt(&driver);
    assert!(is_asked(&mut told));
    driver.cancel(query);
    // Until they have, nobody knows what there is to be stopped.
    assert!(!state(&driver, query).is_final());
    holds_nothing(&driver, query);
    assert_eq!(state(&driver, query), QueryState::Cancelled);
    assert_eq!(driver.running_and_queued(), (0, 0));
}
