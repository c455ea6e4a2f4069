//! From submission to the end.

use paceline_core::{Action, AttemptState, Event, Options, Outcome};
use paceline_model::{Epoch, ErrorClass, QueryState, StageId};

use crate::bench::{
    Bench, Q, attempt, ended, failure, held, is_finished, outcome, released, started, wake,
};
use crate::support::{chain, graph, millis, query, scan, shuffle, summary};

#[test]
fn a_query_runs_stage_by_stage_and_is_settled_once() {
    let mut bench = Bench::with_executors(2);
    let scans = started(&bench.submit(Q, shuffle(8)));
    assert_eq!(scans.len(), 2);
    assert!(started(&bench.finish(&scans[0])).is_empty());
    let readers = started(&bench.finish(&scans[1]));
    assert_eq!(readers.len(), 2);
    assert!(readers.iter().all(|reader| reader.stage == StageId(1)));
    bench.finish(&readers[0]);
    let actions = bench.finish(&readers[1]);
    let Some(Outcome::Finished { result }) = outcome(&actions) else {
        panic!("not finished: {actions:?}");
    };
    assert_eq!(result.locations.len(), 2);
    assert_eq!(result.locations[0].address, "a:50052");
    assert_eq!(result.summaries[1].rows, 10);
    assert!(bench.finish(&readers[1]).is_empty());
    assert_eq!(bench.core.status(query(Q)).unwrap().0, QueryState::Finished);
}

#[test]
fn each_complete_stage_is_told_once() {
    let mut bench = Bench::with_executors(1);
    let scans = started(&bench.submit(Q, shuffle(4)));
    let actions = bench.finish(&scans[0]);
    let told = actions.iter().any(
        |action| matches!(action, Action::StageFinished { stage, .. } if *stage == StageId(0)),
    );
    assert!(told);
}

#[test]
fn outputs_are_released_once_their_reader_is_complete() {
    let mut bench = Bench::with_executors(1);
    let scan = started(&bench.submit(Q, graph(chain(4)))).remove(0);
    let reader = started(&bench.finish(&scan)).remove(0);
    let actions = bench.finish(&reader);
    assert_eq!(released(&actions), [("a".to_string(), attempt(0, 0, 0))]);
    let gather = started(&actions).remove(0);
    let actions = bench.finish(&gather);
    assert_eq!(released(&actions), [("a".to_string(), attempt(1, 0, 0))]);
    assert!(is_finished(&actions));
}

#[test]
fn a_result_stays_until_released_and_then_all_is_dropped() {
    let mut bench = Bench::with_executors(2);
    let scans = started(&bench.submit(Q, scan(8)));
    let actions = bench.finish_all(&scans);
    assert!(is_finished(&actions));
    assert!(ended(&actions).is_empty());
    assert_eq!(ended(&bench.release(Q)), ["a", "b"]);
    assert_eq!(bench.core.status(query(Q)), None);
    assert!(bench.release(Q).is_empty());
}

#[test]
fn cancel_stops_everything_at_once() {
    let mut bench = Bench::with_executors(3);
    let scans = started(&bench.submit(Q, scan(12)));
    let actions = bench.cancel(Q);
    assert_eq!(outcome(&actions), Some(&Outcome::Cancelled));
    assert_eq!(ended(&actions), ["a", "b", "c"]);
    let executors = bench.core.executors();
    assert!(
        executors
            .iter()
            .all(|executor| executor.slots_committed == 0)
    );
    // What was on its way is dropped, and no second outcome comes of it.
    let late = bench.finish(&scans[0]);
    assert_eq!(released(&late).len(), 1);
    assert_eq!(outcome(&late), None);
    assert!(bench.cancel(Q).is_empty());
}

#[test]
fn cancel_comes_too_late_for_a_finished_query() {
    let mut bench = Bench::with_executors(1);
    let scans = started(&bench.submit(Q, scan(4)));
    assert!(is_finished(&bench.finish_all(&scans)));
    assert!(bench.cancel(Q).is_empty());
    assert!(bench.core.status(query(Q)).is_some());
}

#[test]
fn a_query_that_exceeds_its_limit_fails_and_says_which() {
    let mut bench = Bench::with_executors(1);
    bench.now = millis(500);
    let actions = bench.tell(Event::Submit {
        query: query(Q),
        graph: scan(4),
        epoch: Epoch(0),
        deadline: Some(millis(2500)),
        promised: false,
    });
    assert_eq!(wake(&actions), Some(millis(2500)));
    assert!(bench.at(2499).is_empty());
    let actions = bench.at(2500);
    let error = failure(&actions);
    assert_eq!(error.class, ErrorClass::DeadlineExceeded);
    assert!(error.message.contains("2s"), "{error}");
    assert_eq!(ended(&actions), ["a"]);
}

#[test]
fn a_finished_query_has_no_limit_any_more() {
    let mut bench = Bench::with_executors(1);
    let actions = bench.tell(Event::Submit {
        query: query(Q),
        graph: scan(4),
        epoch: Epoch(0),
        deadline: Some(millis(100)),
        promised: false,
    });
    assert!(is_finished(&bench.finish_all(&started(&actions))));
    assert!(bench.at(100).is_empty());
    assert!(bench.core.status(query(Q)).is_some());
}

#[test]
fn without_executors_a_query_waits_and_then_says_so() {
    let mut bench = Bench::new(Options::default());
    let actions = bench.submit(Q, scan(4));
    assert_eq!(wake(&actions), Some(millis(30_000)));
    assert!(bench.at(29_999).is_empty());
    let actions = bench.at(30_000);
    let error = failure(&actions);
    assert_eq!(error.class, ErrorClass::Unavailable);
    assert!(error.message.contains("30s"), "{error}");
    assert!(error.message.contains("start executors"), "{error}");
}

#[test]
fn an_executor_that_comes_in_time_gets_the_waiting_query() {
    let mut bench = Bench::new(Options::default());
    bench.submit(Q, scan(4));
    bench.now = millis(29_000);
    let scans = started(&bench.attach("a", 4, Vec::new()));
    assert_eq!(scans.len(), 1);
    assert!(bench.at(31_000).is_empty());
    // And the wait starts anew if it goes again.
    bench.lose("a");
    assert!(outcome(&bench.at(60_999)).is_none());
    assert_eq!(failure(&bench.at(61_000)).class, ErrorClass::Unavailable);
}

#[test]
fn each_wait_for_an_executor_counts_from_its_own_start() {
    let mut bench = Bench::with_executors(1);
    let scan = started(&bench.submit(Q, shuffle(4))).remove(0);
    bench.lose("a");
    // The scan is back, on an executor that only finishes what it has.
    bench.now = millis(10_000);
    bench.tell(Event::ExecutorAttached {
        executor: scan.executor.clone(),
        address: "a:50052".to_string(),
        zone: String::new(),
        slots: 4,
        draining: true,
        held: vec![held(&[], &[scan.attempt()])],
    });
    assert!(outcome(&bench.at(30_000)).is_none());
    bench.now = millis(40_000);
    assert!(started(&bench.finish(&scan)).is_empty());
    assert!(outcome(&bench.at(69_999)).is_none());
    assert!(failure(&bench.at(70_000)).message.contains("draining"));
}

#[test]
fn executors_that_only_drain_are_as_good_as_none() {
    let mut bench = Bench::with_executors(1);
    bench.tell(Event::ExecutorDraining {
        executor: crate::support::executor("a"),
    });
    assert!(started(&bench.submit(Q, scan(4))).is_empty());
    let actions = bench.at(30_000);
    assert!(failure(&actions).message.contains("draining"));
}

#[test]
fn progress_counts_what_is_there() {
    let mut bench = Bench::with_executors(2);
    let scans = started(&bench.submit(Q, shuffle(8)));
    bench.report(&scans[0], AttemptState::Running { rows: 5, bytes: 5 });
    bench.finish_with(&scans[0], summary(7, &[3, 4]));
    let (state, stages) = bench.core.status(query(Q)).unwrap();
    assert_eq!(state, QueryState::Running);
    let first = stages[0];
    assert_eq!((first.tasks, first.running, first.done), (2, 1, 1));
    assert_eq!((first.attempts, first.rows, first.bytes), (2, 7, 7));
    assert_eq!(stages[1].tasks, 0);
    // A stage whose outputs were released stays done.
    let readers = started(&bench.finish(&scans[1]));
    bench.finish_all(&readers);
    let (_, stages) = bench.core.status(query(Q)).unwrap();
    assert_eq!((stages[0].done, stages[0].rows), (2, 17));
}

#[test]
fn a_query_that_is_known_is_not_submitted_again() {
    let mut bench = Bench::with_executors(1);
    bench.submit(Q, scan(4));
    assert!(bench.submit(Q, scan(4)).is_empty());
    bench.cancel(Q);
    assert!(bench.submit(Q, scan(4)).is_empty());
}
