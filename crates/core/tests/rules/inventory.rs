//! What an attaching executor turns out to hold.

use paceline_core::{Action, Event, HeldQuery, KnownOutput, KnownStage, KnownTask, Options};
use paceline_model::{Attempt, Epoch, PartitionRange, StageId};

use crate::bench::{
    Bench, Q, attempt, brought, cancelled, ended, held, is_finished, places, released, started,
};
use crate::support::{executor, query, scan, shuffle, summary};

#[test]
fn coming_back_with_everything_costs_nothing() {
    let mut bench = Bench::with_executors(2);
    let scans = started(&bench.submit(Q, shuffle(4)));
    bench.finish(&scans[0]);
    for (name, inventory) in [
        ("a", held(&[attempt(0, 0, 0)], &[])),
        ("b", held(&[], &[attempt(0, 1, 0)])),
    ] {
        let actions = bench.attach(name, 4, vec![inventory]);
        assert!(actions.is_empty(), "{actions:?}");
    }
    assert_eq!((bench.done(0), bench.running(0)), (1, 1));
}

#[test]
fn what_is_not_named_any_more_is_lost() {
    let mut bench = Bench::with_executors(2);
    let scans = started(&bench.submit(Q, shuffle(4)));
    bench.finish(&scans[0]);
    let actions = bench.attach("a", 4, Vec::new());
    assert_eq!(started(&actions)[0].launch.attempt, Attempt(1));
    let actions = bench.attach("b", 4, Vec::new());
    assert_eq!(started(&actions).len(), 1);
    assert_eq!(bench.done(0), 0);
}

#[test]
fn a_report_that_was_lost_comes_with_the_inventory() {
    let mut bench = Bench::with_executors(1);
    started(&bench.submit(Q, scan(1)));
    let actions = bench.attach("a", 4, vec![held(&[attempt(0, 0, 0)], &[])]);
    assert!(is_finished(&actions));
}

#[test]
fn an_executor_given_up_too_early_brings_its_work_back() {
    let mut bench = Bench::with_executors(1);
    let scans = started(&bench.submit(Q, shuffle(4)));
    bench.lose("a");
    assert_eq!(bench.running(0), 0);
    let actions = bench.attach("a", 4, vec![held(&[], &[attempt(0, 0, 0)])]);
    assert!(started(&actions).is_empty());
    assert_eq!(bench.running(0), 1);
    let reader = started(&bench.finish(&scans[0])).remove(0);
    bench.lose("a");
    let actions = bench.attach("a", 4, vec![held(&[attempt(0, 0, 0)], &[reader.attempt()])]);
    assert!(started(&actions).is_empty());
    assert_eq!((bench.done(0), bench.running(1)), (1, 1));
    assert!(is_finished(&bench.finish(&reader)));
}

#[test]
fn what_was_started_elsewhere_meanwhile_is_not_taken_back() {
    let mut bench = Bench::with_executors(2);
    let scans = started(&bench.submit(Q, scan(2)));
    assert_eq!(scans[0].executor, executor("a"));
    assert_eq!(places(&bench.lose("a")), ["b"]);
    let actions = bench.attach("a", 4, vec![held(&[], &[attempt(0, 0, 0)])]);
    assert_eq!(cancelled(&actions), [("a".to_string(), attempt(0, 0, 0))]);
    let actions = bench.attach("a", 4, vec![held(&[attempt(0, 0, 0)], &[])]);
    assert_eq!(released(&actions), [("a".to_string(), attempt(0, 0, 0))]);
}

#[test]
fn nonsense_in_an_inventory_is_dropped() {
    let mut bench = Bench::with_executors(1);
    bench.submit(Q, scan(1));
    let strange = [attempt(7, 0, 0), attempt(0, 7, 0), attempt(0, 0, 7)];
    let actions = bench.attach("b", 4, vec![held(&strange, &strange)]);
    assert_eq!(released(&actions).len(), 3);
    assert_eq!(cancelled(&actions).len(), 3);
}

#[test]
fn queries_of_other_owners_are_left_alone() {
    let mut bench = Bench::with_executors(1);
    let actions = bench.attach("b", 4, vec![held(&[attempt(0, 0, 0)], &[attempt(0, 1, 0)])]);
    assert!(actions.is_empty(), "{actions:?}");
    // Ours once, but somebody else commands it by now.
    bench.submit(Q, scan(1));
    let mut theirs = held(&[attempt(0, 0, 0)], &[]);
    theirs.epoch = Epoch(3);
    let actions = bench.attach("c", 4, vec![theirs]);
    assert!(released(&actions).is_empty());
}

#[test]
fn an_executor_that_missed_the_end_of_a_query_is_told() {
    let mut bench = Bench::with_executors(2);
    bench.submit(Q, scan(2));
    bench.lose("b");
    assert_eq!(ended(&bench.cancel(Q)), ["a"]);
    let actions = bench.attach("b", 4, vec![held(&[], &[attempt(0, 1, 0)])]);
    assert_eq!(ended(&actions), ["b"]);
}

/// However many queries have ended while it was away.
#[test]
fn an_executor_that_missed_an_end_which_is_forgotten_is_told() {
    let mut bench = Bench::new(Options {
        remembered_queries: 2,
        ..Options::default()
    });
    bench.attach("a", 4, Vec::new());
    bench.submit(Q, scan(1));
    bench.lose("a");
    bench.cancel(Q);
    let ours = || HeldQuery {
        ours: true,
        ..held(&[attempt(0, 0, 0)], &[attempt(0, 1, 0)])
    };
    for other in [Q + 1, Q + 2] {
        bench.submit(other, scan(1));
        bench.cancel(other);
    }
    assert!(!bench.core.has_ended(query(Q)), "it is forgotten");
    assert_eq!(ended(&bench.attach("a", 4, vec![ours()])), ["a"]);
    // So is one that says so only when it is asked.
    let asked = bench.tell(Event::Held {
        executor: executor("a"),
        held: ours(),
    });
    assert_eq!(ended(&asked), ["a"]);
    // Of others' queries nothing is known here.
    let theirs = held(&[attempt(0, 0, 0)], &[]);
    assert!(ended(&bench.attach("a", 4, vec![theirs])).is_empty());
}

#[test]
fn what_is_known_is_not_ended_because_it_is_ours() {
    let mut bench = Bench::with_executors(1);
    let task = started(&bench.submit(Q, scan(1))).remove(0);
    let ours = HeldQuery {
        ours: true,
        ..held(&[], &[task.attempt()])
    };
    let actions = bench.attach("a", 4, vec![ours]);
    assert!(actions.is_empty(), "{actions:?}");
    assert_eq!(bench.running(0), 1);
}

#[test]
fn an_executor_with_another_address_is_found_there() {
    let mut bench = Bench::with_executors(1);
    let task = started(&bench.submit(Q, shuffle(2))).remove(0);
    bench.finish(&task);
    let actions = bench.tell(Event::ExecutorAttached {
        executor: executor("a"),
        address: "elsewhere:1".to_string(),
        zone: String::new(),
        slots: 4,
        draining: false,
        held: vec![held(&[attempt(0, 0, 0)], &[])],
    });
    let text = format!("{actions:?}");
    assert!(text.contains("elsewhere:1"), "{text}");
    assert_eq!(started(&actions)[0].stage, StageId(1));
}

fn known(stage: u32, outputs: &[Option<(&str, u32)>], count: u32) -> KnownStage {
    let tasks = outputs.iter().enumerate().map(|(nth, output)| KnownTask {
        partitions: PartitionRange::new(nth as u32 * count, count),
        output: output.map(|(holder, attempt)| KnownOutput {
            attempt: Attempt(attempt),
            executor: executor(holder),
            summary: summary(5, &[1]),
        }),
    });
    KnownStage {
        stage: StageId(stage),
        tasks: tasks.collect(),
        floor: Attempt(0),
    }
}

fn adopt(stages: Vec<KnownStage>, held: Vec<(&str, HeldQuery)>) -> Event {
    Event::Adopt {
        query: query(Q),
        graph: shuffle(4),
        epoch: Epoch(1),
        deadline: None,
        stages,
        held: held
            .into_iter()
            .map(|(name, held)| (executor(name), held))
            .collect(),
    }
}

/// Nobody wrote down how its former owner had divided a stage, and another division has other rows.
#[test]
fn what_is_left_of_another_division_is_not_taken_back() {
    let mut bench = Bench::with_executors(1);
    // No task of the stage can be launched yet, so each is vacant.
    bench.submit(2, scan(4));
    bench.submit(3, scan(4));
    bench.tell(adopt(vec![], vec![]));
    let left = held(&[attempt(0, 0, 0)], &[]);
    let actions = bench.attach("b", 4, vec![left]);
    let gone = [("b".to_string(), attempt(0, 0, 0))];
    assert_eq!(released(&actions), gone);
    assert_eq!(bench.done(0), 0);
}

/// Nor does the next owner, which knows the present division.
#[test]
fn a_later_owner_takes_back_nothing_of_an_earlier_division_either() {
    let mut bench = Bench::with_executors(1);
    let mut divided = known(0, &[None, None], 2);
    divided.floor = Attempt(1 << 16);
    bench.submit(2, scan(4));
    bench.submit(3, scan(4));
    let Event::Adopt {
        query,
        graph,
        deadline,
        held: nothing,
        ..
    } = adopt(vec![], vec![])
    else {
        panic!("it is an adoption")
    };
    bench.tell(Event::Adopt {
        query,
        graph,
        epoch: Epoch(2),
        deadline,
        stages: vec![divided],
        held: nothing,
    });
    let left = held(&[attempt(0, 0, 0), attempt(0, 1, 1 << 16)], &[]);
    let actions = bench.attach("b", 4, vec![left]);
    assert_eq!(released(&actions), [("b".to_string(), attempt(0, 0, 0))]);
    assert_eq!(bench.done(0), 1, "what the last owner made of it counts");
}

#[test]
fn an_adopted_query_goes_on_where_it_was() {
    let mut bench = Bench::with_executors(2);
    let stages = vec![
        known(1, &[None, None], 2),
        known(0, &[Some(("a", 0)), Some(("b", 1))], 2),
    ];
    let here = vec![
        ("a", held(&[attempt(0, 0, 0)], &[attempt(1, 0, 0)])),
        ("b", held(&[attempt(0, 1, 1)], &[])),
    ];
    let actions = bench.tell(adopt(stages, here));
    // One reader runs on; the other was lost with its launch.
    let launched = started(&actions);
    assert_eq!(launched.len(), 1);
    assert_eq!(launched[0].attempt(), attempt(1, 1, 1 << 16));
    assert_eq!((bench.done(0), bench.running(1)), (2, 2));
    // The former owner's attempt reports, under the epoch in which it was launched.
    let mut theirs = launched[0].clone();
    theirs.executor = executor("a");
    theirs.launch.task = paceline_model::TaskId(0);
    theirs.launch.attempt = Attempt(0);
    bench.finish(&theirs);
    assert!(is_finished(&bench.finish(&launched[0])));
}

#[test]
fn an_adopted_query_trusts_no_output_that_its_holder_does_not_name() {
    let mut bench = Bench::with_executors(2);
    let stages = vec![known(0, &[Some(("a", 0)), Some(("gone", 0))], 2)];
    let actions = bench.tell(adopt(stages, Vec::new()));
    assert_eq!(started(&actions).len(), 2);
    assert_eq!(bench.done(0), 0);
}

/// Its former owner had it all, and had let its inputs go.
#[test]
fn a_result_that_its_makers_bring_along_is_not_made_again() {
    for recorded in [[Some(("a", 0)), Some(("b", 0))], [None, None]] {
        let mut bench = Bench::with_executors(2);
        let stages = vec![
            known(0, &[Some(("a", 0)), Some(("b", 0))], 2),
            known(1, &recorded, 2),
        ];
        let here = vec![
            ("a", brought(&[attempt(1, 0, 0)])),
            ("b", brought(&[attempt(1, 1, 0)])),
        ];
        let actions = bench.tell(adopt(stages, here));
        assert!(is_finished(&actions), "{actions:?}");
        assert!(started(&actions).is_empty(), "{actions:?}");
        assert!(started(&bench.lose("a")).is_empty(), "it is here");
        assert_eq!(ended(&bench.release(Q)), ["b"], "it keeps a copy");
    }
}

#[test]
fn of_a_result_that_is_brought_along_in_part_the_rest_is_made_again() {
    let mut bench = Bench::with_executors(2);
    let stages = vec![
        known(0, &[Some(("a", 0)), Some(("gone", 0))], 2),
        known(1, &[Some(("a", 0)), Some(("gone", 0))], 2),
    ];
    // What is not of the result cannot come along.
    let here = vec![("a", brought(&[attempt(1, 0, 0), attempt(0, 0, 0)]))];
    let scans = started(&bench.tell(adopt(stages, here)));
    assert_eq!(scans.len(), 2);
    assert_eq!((bench.done(0), bench.done(1)), (0, 1));
    let launched = started(&bench.finish_all(&scans));
    assert_eq!(launched.len(), 1);
    assert_eq!(launched[0].attempt(), attempt(1, 1, 1 << 16));
    assert!(is_finished(&bench.finish(&launched[0])));
}

#[test]
fn a_division_that_does_not_fit_is_made_afresh() {
    for wrong in [
        known(0, &[None, None, None], 2),
        known(0, &[], 1),
        known(0, &[None], 0),
        known(9, &[None], 4),
        known(0, &[None, None], u32::MAX),
    ] {
        let mut bench = Bench::with_executors(2);
        let actions = bench.tell(adopt(vec![wrong], Vec::new()));
        assert_eq!(started(&actions).len(), 2);
    }
}

#[test]
fn what_an_executor_answers_late_is_compared_like_an_inventory() {
    let mut bench = Bench::with_executors(2);
    let stages = vec![known(0, &[None, None], 2), known(1, &[None, None], 2)];
    let launched = started(&bench.tell(adopt(stages, Vec::new())));
    assert_eq!(launched.len(), 2);
    let late = |name: &str| Event::Held {
        executor: executor(name),
        held: held(&[attempt(0, 1, 0)], &[attempt(0, 0, 0), attempt(1, 0, 0)]),
    };
    let actions = bench.tell(late("a"));
    // Two tasks run anew by now; the third was waiting for its input and is taken back.
    assert_eq!(released(&actions), [("a".to_string(), attempt(0, 1, 0))]);
    assert_eq!(cancelled(&actions), [("a".to_string(), attempt(0, 0, 0))]);
    assert_eq!(bench.running(1), 1);
    assert!(bench.tell(late("nobody")).is_empty());
}

#[test]
fn what_another_plan_left_is_not_taken_back() {
    let mut bench = Bench::with_executors(2);
    let launched = started(&bench.tell(Event::Submit {
        query: query(Q),
        graph: shuffle(4),
        epoch: Epoch(1),
        deadline: None,
        promised: false,
    }));
    assert_eq!(launched[0].attempt().attempt, Attempt(1 << 16));
    bench.lose("b");
    let actions = bench.attach(
        "b",
        4,
        vec![held(&[attempt(0, 0, 0), attempt(1, 0, 0)], &[])],
    );
    assert_eq!(released(&actions).len(), 2);
    assert_eq!(bench.done(0), 0);
}

#[test]
fn who_still_obeys_the_former_owner_is_told_of_the_new_one() {
    let mut bench = Bench::with_executors(0);
    let stages = vec![known(0, &[None, None], 2)];
    bench.tell(adopt(stages, Vec::new()));
    // It would tell the end of its attempt to somebody who is no more.
    let actions = bench.attach("a", 4, vec![held(&[], &[attempt(0, 0, 0)])]);
    let told = Action::AnnounceOwner {
        executor: executor("a"),
        query: query(Q),
        epoch: Epoch(1),
    };
    assert_eq!(actions.first(), Some(&told));
    assert_eq!(bench.running(0), 2);
    // Who has been told need not be told again.
    let mut again = held(&[], &[attempt(0, 0, 0)]);
    again.epoch = Epoch(1);
    let actions = bench.attach("a", 4, vec![again]);
    assert!(!actions.contains(&told), "{actions:?}");
}
