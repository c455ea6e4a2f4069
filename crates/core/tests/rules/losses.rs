//! What becomes of outputs that are gone.

use std::sync::Arc;

use paceline_core::{Action, AttemptState, Event, Options};
use paceline_model::{Attempt, ErrorClass, ExchangeKind, StageGraph, StageId};

use crate::bench::{
    Bench, Q, Started, attempt, cancelled, failure, is_finished, outcome, places, released, started,
};
use crate::support::{chain, graph, hash, query, scan, shuffle, stage, summary};

fn stages(actions: &[Action]) -> Vec<(u32, u32)> {
    started(actions)
        .iter()
        .map(|task| (task.stage.0, task.launch.task.0))
        .collect()
}

/// A shuffle whose scans leave other rows each time.
fn unrepeatable(partitions: u32) -> Arc<StageGraph> {
    let mut scans = stage(0, partitions, hash(partitions), &[]);
    scans.deterministic = false;
    let readers = stage(1, partitions, ExchangeKind::Forward, &[(0, false)]);
    graph(vec![scans, readers])
}

/// Brings a shuffle over two executors to where both readers run.
fn readers_run(bench: &mut Bench, plan: Arc<StageGraph>) -> (Vec<Started>, Vec<Started>) {
    let scans = started(&bench.submit(Q, plan));
    let readers = started(&bench.finish_all(&scans));
    assert_eq!((scans.len(), readers.len()), (2, 2));
    (scans, readers)
}

#[test]
fn a_lost_output_alone_is_made_again() {
    let mut bench = Bench::with_executors(2);
    let (scans, readers) = readers_run(&mut bench, shuffle(4));
    bench.finish(&readers[1]);
    let actions = bench.fail_to_read(&readers[0], scans[1].lost(false));
    // Only the scan that is gone; its reader waits.
    assert_eq!(stages(&actions), [(0, 1)]);
    let again = started(&actions).remove(0);
    assert_eq!(again.launch.attempt, Attempt(1));
    let actions = bench.finish(&again);
    assert_eq!(stages(&actions), [(1, 0)]);
    let Some(Action::Launch { inputs, .. }) = actions
        .iter()
        .find(|action| matches!(action, Action::Launch { .. }))
    else {
        panic!("no launch");
    };
    assert_eq!(inputs[0].1[1].attempt, Attempt(1));
    // The other reader kept its result.
    assert!(is_finished(&bench.finish(&started(&actions)[0])));
}

#[test]
fn waiting_for_a_lost_output_is_no_failure_of_the_reader() {
    let mut bench = Bench::with_executors(2);
    let (mut scans, mut readers) = readers_run(&mut bench, shuffle(4));
    for _ in 0..6 {
        let actions = bench.fail_to_read(&readers[0], scans[0].lost(false));
        assert_eq!(outcome(&actions), None);
        scans[0] = started(&actions).remove(0);
        readers[0] = started(&bench.finish(&scans[0])).remove(0);
    }
    bench.finish(&readers[1]);
    assert!(is_finished(&bench.finish(&readers[0])));
}

#[test]
fn outputs_lost_for_ever_are_not_made_for_ever() {
    let mut bench = Bench::with_executors(2);
    let (mut scans, mut readers) = readers_run(&mut bench, shuffle(4));
    for round in 0..200 {
        let actions = bench.fail_to_read(&readers[0], scans[0].lost(false));
        if outcome(&actions).is_some() {
            let error = failure(&actions);
            assert_eq!(error.class, ErrorClass::Unavailable);
            assert!(error.message.contains("re-runs"), "{error}");
            assert!(round > 20, "given up too early");
            return;
        }
        scans[0] = started(&actions).remove(0);
        readers[0] = started(&bench.finish(&scans[0])).remove(0);
    }
    panic!("never given up");
}

#[test]
fn what_an_unreachable_executor_holds_is_made_again_elsewhere() {
    let mut bench = Bench::with_executors(2);
    let mut large = stage(0, 8, hash(4), &[]);
    large.scan_bytes = 4 * (256 << 20);
    let readers = stage(1, 4, ExchangeKind::Forward, &[(0, false)]);
    let scans = started(&bench.submit(Q, graph(vec![large, readers])));
    let readers = started(&bench.finish_all(&scans));
    let on_b: Vec<_> = scans
        .iter()
        .filter(|scan| scan.executor.as_str() == "b")
        .collect();
    assert_eq!(on_b.len(), 2);
    let actions = bench.fail_to_read(&readers[0], on_b[0].lost(true));
    assert_eq!(places(&actions), ["a", "a"]);
}

#[test]
fn a_lost_executor_takes_along_what_it_ran_and_held() {
    let mut bench = Bench::with_executors(3);
    let scans = started(&bench.submit(Q, shuffle(6)));
    bench.finish(&scans[0]);
    bench.finish(&scans[1]);
    // One output is gone; the scan that runs elsewhere is not touched.
    let actions = bench.lose("a");
    assert_eq!(stages(&actions), [(0, 0)]);
    assert_eq!(bench.running(0), 2);
}

#[test]
fn released_outputs_are_made_again_when_they_are_needed_again() {
    let mut bench = Bench::with_executors(2);
    let scans = started(&bench.submit(Q, graph(chain(4))));
    let readers = started(&bench.finish_all(&scans));
    let actions = bench.finish_all(&readers);
    assert_eq!(released(&actions).len(), 2);
    let gather = started(&actions).remove(0);
    // The gather runs on a, and so does half of what it reads; its other half lies on b.
    assert_eq!(gather.executor.as_str(), "a");
    let actions = bench.lose("b");
    assert_eq!(stages(&actions), [(0, 0), (0, 1)]);
    let scans = started(&actions);
    let actions = bench.finish_all(&scans);
    // The reader on a kept its output.
    assert_eq!(stages(&actions), [(1, 1)]);
    bench.finish_all(&started(&actions));
    assert!(is_finished(&bench.finish(&gather)));
}

#[test]
fn what_nobody_needs_any_more_is_not_made_again() {
    let mut bench = Bench::with_executors(2);
    let (scans, readers) = readers_run(&mut bench, shuffle(4));
    assert!(is_finished(&bench.finish_all(&readers)));
    // The result on b has to be made again, and with it all that was released …
    let remade = started(&bench.lose("b"));
    assert_eq!(remade.len(), 2);
    // … while a released output that nobody asked for is none.
    let actions = bench.tell(Event::ResultLost {
        query: query(Q),
        lost: vec![scans[0].lost(false)],
    });
    assert!(started(&actions).is_empty());
}

#[test]
fn a_rerun_stops_when_its_last_reader_is_through() {
    let mut bench = Bench::with_executors(3);
    let mut gather = stage(2, 1, ExchangeKind::Forward, &[(1, true)]);
    gather.divisible = false;
    let plan = graph(vec![
        stage(0, 3, hash(2), &[]),
        stage(1, 2, ExchangeKind::Forward, &[(0, false)]),
        gather,
    ]);
    let scans = started(&bench.submit(Q, plan));
    let readers = started(&bench.finish_all(&scans));
    assert_eq!((scans.len(), readers.len()), (3, 2));
    // c holds a scan's output and runs no reader: both readers may have read it already.
    let remade = started(&bench.lose("c")).remove(0);
    bench.finish(&readers[0]);
    let actions = bench.finish(&readers[1]);
    assert_eq!(
        cancelled(&actions),
        [(remade.executor.to_string(), remade.attempt())]
    );
    assert_eq!(released(&actions).len(), 2);
    assert_eq!(stages(&actions), [(2, 0)]);
}

#[test]
fn what_cannot_be_repeated_takes_its_readers_along() {
    let mut bench = Bench::with_executors(2);
    let (scans, readers) = readers_run(&mut bench, unrepeatable(4));
    bench.finish(&readers[1]);
    let actions = bench.fail_to_read(&readers[0], scans[0].lost(false));
    assert_eq!(stages(&actions), [(0, 0)]);
    assert_eq!(
        released(&actions),
        [(readers[1].executor.to_string(), attempt(1, 1, 0))]
    );
    let again = started(&actions).remove(0);
    let actions = bench.finish(&again);
    assert_eq!(stages(&actions), [(1, 0), (1, 1)]);
    assert!(is_finished(&bench.finish_all(&started(&actions))));
}

#[test]
fn running_readers_of_what_cannot_be_repeated_are_stopped() {
    let mut bench = Bench::with_executors(2);
    let (scans, readers) = readers_run(&mut bench, unrepeatable(4));
    let actions = bench.fail_to_read(&readers[0], scans[0].lost(false));
    let stopped = &readers[1];
    assert_eq!(
        cancelled(&actions),
        [(stopped.executor.to_string(), stopped.attempt())]
    );
    // Too late: what it read is not true any more.
    assert_eq!(released(&bench.finish(stopped)).len(), 1);
}

#[test]
fn distrust_goes_through_stages_that_could_be_repeated() {
    let mut bench = Bench::with_executors(2);
    let mut plan = vec![
        stage(0, 4, hash(4), &[]),
        stage(1, 4, hash(4), &[(0, false)]),
        stage(2, 4, ExchangeKind::Forward, &[(1, false)]),
    ];
    plan[0].deterministic = false;
    let scans = started(&bench.submit(Q, graph(plan)));
    let middle = started(&bench.finish_all(&scans));
    let last = started(&bench.finish_all(&middle));
    bench.finish(&last[0]);
    // The scans' outputs were released; making them again makes everything else again.
    let actions = bench.fail_to_read(&last[1], middle[0].lost(false));
    assert_eq!(stages(&actions), [(0, 0), (0, 1)]);
    let mut dropped = released(&actions);
    dropped.sort();
    assert_eq!(
        dropped,
        [
            (last[0].executor.to_string(), attempt(2, 0, 0)),
            (middle[1].executor.to_string(), attempt(1, 1, 0)),
        ]
    );
}

#[test]
fn a_lost_result_is_made_again_and_told() {
    let mut bench = Bench::with_executors(2);
    let scans = started(&bench.submit(Q, scan(2)));
    assert!(is_finished(&bench.finish_all(&scans)));
    let actions = bench.tell(Event::ResultLost {
        query: query(Q),
        lost: vec![scans[0].lost(false)],
    });
    assert_eq!(stages(&actions), [(0, 0)]);
    let again = started(&actions).remove(0);
    let actions = bench.finish(&again);
    assert_eq!(outcome(&actions), None);
    let Some(Action::ResultChanged {
        result, restart, ..
    }) = actions
        .iter()
        .find(|action| matches!(action, Action::ResultChanged { .. }))
    else {
        panic!("not told: {actions:?}");
    };
    assert_eq!(result.locations[0].attempt, Attempt(1));
    assert_eq!(result.locations[1].attempt, Attempt(0));
    assert!(!restart);
}

#[test]
fn a_result_that_came_out_otherwise_has_to_be_read_from_the_start() {
    let mut bench = Bench::with_executors(2);
    let (_, readers) = readers_run(&mut bench, unrepeatable(4));
    assert!(is_finished(&bench.finish_all(&readers)));
    let mut actions = bench.lose("a");
    let mut restarts = Vec::new();
    for _ in 0..10 {
        restarts.extend(actions.iter().filter_map(|action| match action {
            Action::ResultChanged { restart, .. } => Some(*restart),
            _ => None,
        }));
        let open = started(&actions);
        actions = bench.finish_all(&open);
    }
    assert_eq!(restarts, [true]);
}

#[test]
fn a_reader_that_is_behind_is_told_again_where_the_result_lies() {
    let mut bench = Bench::with_executors(2);
    let scans = started(&bench.submit(Q, scan(2)));
    bench.finish_all(&scans);
    let again = started(&bench.lose(scans[0].executor.as_str())).remove(0);
    let lost = || Event::ResultLost {
        query: query(Q),
        lost: vec![scans[0].lost(true)],
    };
    assert!(bench.tell(lost()).is_empty());
    bench.finish(&again);
    let actions = bench.tell(lost());
    assert!(started(&actions).is_empty());
    let told = |action: &Action| matches!(action, Action::ResultChanged { .. });
    assert_eq!(actions.iter().filter(|a| told(a)).count(), 1);
}

#[test]
fn a_result_that_came_inline_is_not_lost_with_its_executor() {
    let mut bench = Bench::with_executors(2);
    let task = started(&bench.submit(Q, scan(1))).remove(0);
    let actions = bench.report(
        &task,
        AttemptState::Finished {
            summary: summary(1, &[8]),
            inline: true,
        },
    );
    assert!(is_finished(&actions));
    assert!(started(&bench.lose(task.executor.as_str())).is_empty());
    assert_eq!(bench.done(0), 1);
}

#[test]
fn a_result_that_cannot_be_made_again_is_given_up() {
    let mut bench = Bench::with_executors(1);
    let task = started(&bench.submit(Q, scan(1))).remove(0);
    assert!(is_finished(&bench.finish(&task)));
    bench.lose("a");
    let actions = bench.at(30_000);
    assert_eq!(outcome(&actions), None);
    let gone = |action: &Action| matches!(action, Action::ResultGone { error, .. } if error.class == ErrorClass::Unavailable);
    assert!(actions.iter().any(gone), "{actions:?}");
    assert_eq!(bench.core.status(query(Q)), None);
}

#[test]
fn losses_that_were_made_up_cost_nothing_but_a_retry() {
    let mut bench = Bench::new(Options::default());
    bench.attach("a", 4, Vec::new());
    let scan = started(&bench.submit(Q, shuffle(2))).remove(0);
    let reader = started(&bench.finish(&scan)).remove(0);
    let mut nonsense = scan.lost(false);
    nonsense.stage = StageId(40);
    let actions = bench.fail_to_read(&reader, nonsense);
    assert_eq!(stages(&actions), [(1, 0)]);
    let reader = started(&actions).remove(0);
    let mut older = scan.lost(false);
    older.attempt = Attempt(5);
    assert_eq!(stages(&bench.fail_to_read(&reader, older)), [(1, 0)]);
}
