//! What becomes of a task that failed.

use paceline_core::{AttemptState, Event, Outcome};
use paceline_model::{Attempt, Epoch, ErrorClass};

use crate::bench::{
    Bench, Q, attempt, ended, failure, is_finished, outcome, places, released, started, wake,
};
use crate::support::{millis, scan, summary};

#[test]
fn a_passing_failure_gets_another_attempt_elsewhere_after_a_pause() {
    let mut bench = Bench::with_executors(2);
    let task = started(&bench.submit(Q, scan(1))).remove(0);
    let actions = bench.fail(&task, ErrorClass::Retryable);
    assert!(started(&actions).is_empty());
    assert_eq!(wake(&actions), Some(millis(50)));
    assert!(started(&bench.at(49)).is_empty());
    let actions = bench.at(50);
    assert_eq!(places(&actions), ["b"]);
    assert_eq!(started(&actions)[0].launch.attempt, Attempt(1));
}

#[test]
fn pauses_grow() {
    let mut bench = Bench::with_executors(2);
    let task = started(&bench.submit(Q, scan(1))).remove(0);
    bench.fail(&task, ErrorClass::Resource);
    let task = started(&bench.at(50)).remove(0);
    let actions = bench.fail(&task, ErrorClass::Resource);
    assert_eq!(wake(&actions), Some(millis(150)));
    assert_eq!(places(&bench.at(150)), ["a"]);
}

#[test]
fn the_only_executor_gets_it_again() {
    let mut bench = Bench::with_executors(1);
    let task = started(&bench.submit(Q, scan(1))).remove(0);
    bench.fail(&task, ErrorClass::Retryable);
    assert_eq!(places(&bench.at(50)), ["a"]);
}

#[test]
fn four_attempts_are_enough() {
    let mut bench = Bench::with_executors(2);
    let mut actions = bench.submit(Q, scan(1));
    for _ in 0..3 {
        let task = started(&actions).remove(0);
        bench.fail(&task, ErrorClass::Retryable);
        let later = bench.now.0.as_millis() as u64 + 2000;
        actions = bench.at(later);
    }
    let task = started(&actions).remove(0);
    let actions = bench.fail(&task, ErrorClass::Retryable);
    let error = failure(&actions);
    assert_eq!(error.class, ErrorClass::Retryable);
    for part in [
        "stage 0",
        "task 0",
        "4 attempts",
        "executor b",
        "disk on fire",
    ] {
        assert!(error.message.contains(part), "{error}");
    }
    assert_eq!(ended(&actions), ["a", "b"]);
}

#[test]
fn what_no_attempt_can_mend_fails_the_query_at_once() {
    let hopeless = ErrorClass::ALL
        .into_iter()
        .filter(|class| !class.worth_another_attempt());
    for class in hopeless {
        let mut bench = Bench::with_executors(2);
        let task = started(&bench.submit(Q, scan(8))).remove(0);
        let actions = bench.fail(&task, class);
        let error = failure(&actions);
        assert_eq!(
            (error.class, error.message.as_str()),
            (class, "disk on fire")
        );
        assert_eq!(ended(&actions), ["a", "b"]);
    }
}

#[test]
fn a_task_that_lost_its_executor_is_started_elsewhere_at_once() {
    let mut bench = Bench::with_executors(2);
    let task = started(&bench.submit(Q, scan(1))).remove(0);
    let actions = bench.lose("a");
    assert_eq!(places(&actions), ["b"]);
    assert_eq!(started(&actions)[0].launch.task, task.launch.task);
}

#[test]
fn a_task_that_takes_every_executor_with_it_is_stopped() {
    let mut bench = Bench::with_executors(5);
    let mut actions = bench.submit(Q, scan(1));
    for name in ["a", "b", "c"] {
        assert_eq!(places(&actions), [name]);
        actions = bench.lose(name);
    }
    let actions = bench.lose("d");
    let error = failure(&actions);
    for part in [
        "stage 0 task 0",
        "4 attempts",
        "executor d",
        "connection closed",
    ] {
        assert!(error.message.contains(part), "{error}");
    }
}

#[test]
fn an_attempt_the_executor_gave_up_is_made_again() {
    let mut bench = Bench::with_executors(1);
    let task = started(&bench.submit(Q, scan(1))).remove(0);
    let again = started(&bench.report(&task, AttemptState::Cancelled)).remove(0);
    assert_eq!(again.launch.attempt, Attempt(1));
    assert!(is_finished(&bench.finish(&again)));
}

#[test]
fn reports_of_nothing_current_change_nothing() {
    let mut bench = Bench::with_executors(2);
    let first = started(&bench.submit(Q, scan(1))).remove(0);
    bench.fail(&first, ErrorClass::Retryable);
    let second = started(&bench.at(50)).remove(0);
    // The failed attempt, told again: no second failure, no cancellation of the second attempt.
    assert!(bench.fail(&first, ErrorClass::User).is_empty());
    // It claims an output after all: nobody wants it.
    let actions = bench.finish(&first);
    assert_eq!(released(&actions), [("a".to_string(), attempt(0, 0, 0))]);
    assert_eq!(outcome(&actions), None);
    // Somebody else claims the second attempt.
    let mut elsewhere = second.clone();
    elsewhere.executor = first.executor.clone();
    assert_eq!(released(&bench.finish(&elsewhere)).len(), 1);
    // A stage and a task that do not exist.
    let mut nowhere = second.clone();
    nowhere.stage = paceline_model::StageId(9);
    assert_eq!(released(&bench.finish(&nowhere)).len(), 1);
    nowhere.stage = second.stage;
    nowhere.launch.task = paceline_model::TaskId(9);
    assert_eq!(released(&bench.finish(&nowhere)).len(), 1);
    assert!(is_finished(&bench.finish(&second)));
}

#[test]
fn reports_of_a_later_owner_are_none_of_our_business() {
    let mut bench = Bench::with_executors(1);
    let task = started(&bench.submit(Q, scan(1))).remove(0);
    let actions = bench.tell(Event::TaskReport {
        executor: task.executor.clone(),
        id: task.id(),
        epoch: Epoch(1),
        state: AttemptState::Finished {
            summary: summary(1, &[1]),
            inline: false,
        },
    });
    assert!(actions.is_empty());
    assert_eq!(bench.core.counters().stale_reports, 1);
    assert_eq!(bench.done(0), 0);
}

#[test]
fn an_output_of_a_query_never_heard_of_is_dropped() {
    let mut bench = Bench::with_executors(1);
    let mut task = started(&bench.submit(Q, scan(1))).remove(0);
    task.query = crate::support::query(99);
    assert_eq!(released(&bench.finish(&task)).len(), 1);
}

#[test]
fn a_failure_while_everything_else_runs_on_is_not_final() {
    let mut bench = Bench::with_executors(2);
    let tasks = started(&bench.submit(Q, scan(8)));
    bench.fail(&tasks[0], ErrorClass::Retryable);
    bench.finish(&tasks[1]);
    let again = started(&bench.at(50)).remove(0);
    let actions = bench.finish(&again);
    assert!(matches!(outcome(&actions), Some(Outcome::Finished { .. })));
}
