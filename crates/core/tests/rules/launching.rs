//! Tasks, their order and their places.

use std::sync::Arc;

use paceline_core::{Action, Event};
use paceline_model::{ExchangeKind, PartitionRange, StageId};

use crate::bench::{Bench, Q, places, started};
use crate::support::{executor, graph, hash, query, scan, shuffle, stage, summary};

#[test]
fn tasks_are_fat_and_spread() {
    let mut bench = Bench::with_executors(3);
    let actions = bench.submit(Q, scan(10));
    assert_eq!(places(&actions), ["a", "b", "c"]);
    let ranges: Vec<_> = started(&actions)
        .iter()
        .map(|task| (task.launch.partitions, task.launch.slots))
        .collect();
    assert_eq!(
        ranges,
        [
            (PartitionRange::new(0, 4), 4),
            (PartitionRange::new(4, 3), 3),
            (PartitionRange::new(7, 3), 3)
        ]
    );
}

#[test]
fn an_indivisible_stage_is_one_task() {
    let mut bench = Bench::with_executors(3);
    let mut only = stage(0, 10, ExchangeKind::Forward, &[]);
    only.divisible = false;
    let tasks = started(&bench.submit(Q, graph(vec![only])));
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].launch.partitions, PartitionRange::new(0, 10));
    assert_eq!(tasks[0].launch.slots, 4);
}

#[test]
fn one_launch_for_each_executor_and_stage() {
    let mut bench = Bench::with_executors(2);
    let mut large = stage(0, 64, ExchangeKind::Forward, &[]);
    large.scan_bytes = 16 * (256 << 20);
    let actions = bench.submit(Q, graph(vec![large]));
    let launches = actions
        .iter()
        .filter(|action| matches!(action, Action::Launch { .. }));
    assert_eq!(launches.count(), 2);
    // Two of four slots each: one round runs, one waits in the short queue of each executor.
    assert_eq!(started(&actions).len(), 4);
    let next = bench.finish(&started(&actions)[0]);
    assert_eq!(started(&next).len(), 1);
}

#[test]
fn inputs_are_shared_by_all_launches() {
    let mut bench = Bench::with_executors(3);
    let scans = started(&bench.submit(Q, shuffle(12)));
    let actions = bench.finish_all(&scans);
    let inputs: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Launch { inputs, .. } => Some(inputs),
            _ => None,
        })
        .collect();
    assert_eq!(inputs.len(), 3);
    let (stage, locations) = &inputs[0][0];
    assert_eq!(*stage, StageId(0));
    assert_eq!(locations.len(), 3);
    assert_eq!(locations[2].partitions, PartitionRange::new(0, 12));
    assert!(inputs.iter().all(|i| Arc::ptr_eq(&i[0].1, locations)));
}

#[test]
fn a_task_without_siblings_goes_where_its_input_lies() {
    let mut bench = Bench::with_executors(3);
    let mut gather = stage(1, 1, ExchangeKind::Forward, &[(0, true)]);
    gather.divisible = false;
    let plan = graph(vec![stage(0, 3, ExchangeKind::Forward, &[]), gather]);
    let scans = started(&bench.submit(Q, plan));
    bench.finish_with(&scans[0], summary(1, &[10]));
    bench.finish_with(&scans[1], summary(1, &[10]));
    let actions = bench.finish_with(&scans[2], summary(1, &[500]));
    assert_eq!(places(&actions), ["c"]);
}

#[test]
fn tasks_that_read_their_own_partitions_go_to_them() {
    let mut bench = Bench::with_executors(3);
    let plan = graph(vec![
        stage(0, 3, ExchangeKind::Forward, &[]),
        stage(1, 3, ExchangeKind::Forward, &[(0, false)]),
    ]);
    let scans = started(&bench.submit(Q, plan));
    assert_eq!(scans.len(), 3);
    bench.finish_all(&scans[..2]);
    // Another query makes a busier than the others; the bytes still lie where they lie.
    bench.submit(2, scan(1));
    let actions = bench.finish(&scans[2]);
    assert_eq!(places(&actions), ["a", "b", "c"]);
}

#[test]
fn a_reader_of_everything_is_spread_evenly() {
    let mut bench = Bench::with_executors(2);
    let scans = started(&bench.submit(Q, shuffle(4)));
    bench.finish_with(&scans[0], summary(1, &[1000, 1000, 1000, 1000]));
    let actions = bench.finish_with(&scans[1], summary(1, &[1, 1, 1, 1]));
    assert_eq!(places(&actions), ["a", "b"]);
}

#[test]
fn how_an_output_is_divided_is_kept_only_where_tasks_read_their_own_partitions() {
    let left = |actions: &[Action]| -> Vec<Vec<u64>> {
        let outputs = actions.iter().find_map(|action| match action {
            Action::StageFinished { outputs, .. } => Some(&outputs.summaries),
            _ => None,
        });
        let outputs = outputs.expect("a stage finishes").iter();
        outputs.map(|left| left.partition_bytes.clone()).collect()
    };
    let mut bench = Bench::with_executors(2);
    let plan = graph(vec![
        stage(0, 2, hash(4), &[]),
        stage(1, 4, ExchangeKind::Forward, &[(0, false)]),
        stage(2, 4, ExchangeKind::Forward, &[(1, false)]),
    ]);
    let scans = started(&bench.submit(Q, plan));
    bench.finish_with(&scans[0], summary(1, &[1, 2, 3, 4]));
    let hashed = bench.finish_with(&scans[1], summary(1, &[5, 6, 7, 8]));
    assert_eq!(left(&hashed), [[0; 0], [0; 0]]);
    let forwarded = bench.finish_all(&started(&hashed));
    assert_eq!(left(&forwarded), [[1, 1], [1, 1]]);
}

#[test]
fn what_other_schedulers_run_counts() {
    let mut bench = Bench::with_executors(2);
    bench.tell(Event::Load {
        executor: executor("a"),
        slots_used: 3,
        slots_queued: 0,
    });
    assert_eq!(places(&bench.submit(Q, scan(1))), ["b"]);
    for name in ["a", "b"] {
        bench.tell(Event::Load {
            executor: executor(name),
            slots_used: 4,
            slots_queued: 4,
        });
    }
    assert_eq!(places(&bench.submit(2, scan(1))), ["a"], "the first there");
    assert!(places(&bench.submit(3, scan(1))).is_empty());
    let actions = bench.tell(Event::Load {
        executor: executor("b"),
        slots_used: 4,
        slots_queued: 0,
    });
    assert_eq!(places(&actions), ["b"]);
}

/// Others fill up what becomes free with small tasks as soon as it does.
#[test]
fn a_large_task_waits_at_the_executor_behind_those_of_others() {
    let mut bench = Bench::with_executors(1);
    bench.tell(Event::Load {
        executor: executor("a"),
        slots_used: 4,
        slots_queued: 4,
    });
    assert_eq!(places(&bench.submit(Q, scan(4))), ["a"]);
    assert!(
        places(&bench.submit(2, scan(1))).is_empty(),
        "one is enough"
    );
}

#[test]
fn who_drains_gets_nothing_new() {
    let mut bench = Bench::with_executors(2);
    bench.tell(Event::ExecutorDraining {
        executor: executor("a"),
    });
    assert_eq!(places(&bench.submit(Q, scan(8))), ["b"]);
}

#[test]
fn the_longest_path_goes_first() {
    let mut bench = Bench::with_executors(1);
    // 0 and 1 are scans; 1 is two exchanges away from the result, 0 only one.
    let plan = graph(vec![
        stage(0, 8, hash(4), &[]),
        stage(1, 8, hash(4), &[]),
        stage(2, 4, hash(4), &[(1, false)]),
        stage(3, 4, ExchangeKind::Forward, &[(0, false), (2, false)]),
    ]);
    bench.submit(7, scan(4));
    let stages = |actions: &[Action]| -> Vec<u32> {
        started(actions).iter().map(|task| task.stage.0).collect()
    };
    assert_eq!(stages(&bench.submit(Q, plan)), [1]);
}

#[test]
fn a_query_cannot_starve_another() {
    let mut bench = Bench::with_executors(1);
    let mut large = stage(0, 64, ExchangeKind::Forward, &[]);
    large.scan_bytes = 64 * (256 << 20);
    let many = started(&bench.submit(Q, graph(vec![large])));
    assert_eq!(many.len(), 8);
    assert!(started(&bench.submit(2, scan(1))).is_empty());
    let next = started(&bench.finish(&many[0]));
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].query, query(2));
}

#[test]
fn small_tasks_do_not_pass_a_large_one_that_waits_for_room() {
    let mut bench = Bench::with_executors(1);
    let first = started(&bench.submit(10, scan(3)));
    let second = started(&bench.submit(11, scan(3)));
    // Six of eight: four do not fit, one would.
    assert!(started(&bench.submit(12, scan(4))).is_empty());
    assert!(started(&bench.submit(13, scan(1))).is_empty());
    let next: Vec<_> = started(&bench.finish_all(&first))
        .iter()
        .map(|task| task.query)
        .collect();
    assert_eq!(next, [query(12), query(13)]);
    assert_eq!(second.len(), 1);
}

#[test]
fn stages_with_their_inputs_run_side_by_side() {
    let mut bench = Bench::with_executors(2);
    let plan = graph(vec![
        stage(0, 4, hash(4), &[]),
        stage(1, 4, hash(4), &[]),
        stage(2, 4, ExchangeKind::Forward, &[(0, false), (1, false)]),
    ]);
    assert_eq!(started(&bench.submit(Q, plan)).len(), 4);
}

#[test]
fn absurd_claims_of_an_executor_do_no_harm() {
    let mut bench = Bench::with_executors(0);
    bench.attach("none", 0, Vec::new());
    bench.attach("all", u32::MAX, Vec::new());
    bench.tell(Event::Load {
        executor: executor("all"),
        slots_used: u32::MAX,
        slots_queued: u32::MAX,
    });
    let actions = bench.submit(Q, scan(u32::MAX));
    // One runs and one waits there; the other is as busy as it says.
    assert_eq!(places(&actions), ["none", "none"]);
    assert_eq!(started(&actions)[0].launch.slots, 1);
}

#[test]
fn two_thousand_partitions_are_launched_in_a_moment() {
    let mut bench = Bench::new(paceline_core::Options::default());
    for nth in 0..100 {
        bench.attach(&format!("x{nth:03}"), 20, Vec::new());
    }
    let mut scans = stage(0, 2000, hash(2000), &[]);
    scans.scan_bytes = 2000 * (256 << 20);
    let plan = graph(vec![
        scans,
        stage(1, 2000, ExchangeKind::Forward, &[(0, false)]),
    ]);
    let begun = std::time::Instant::now();
    let mut open = started(&bench.core.handle(
        Event::Submit {
            query: query(Q),
            graph: plan,
            epoch: paceline_model::Epoch(0),
            deadline: None,
            promised: false,
        },
        bench.now,
    ));
    assert_eq!(open.len(), 2000);
    let mut readers = 0;
    while let Some(task) = open.pop() {
        let actions = bench.core.handle(
            Event::TaskReport {
                executor: task.executor.clone(),
                id: task.id(),
                epoch: paceline_model::Epoch(0),
                state: paceline_core::AttemptState::Finished {
                    summary: summary(1, &[1]),
                    inline: false,
                },
            },
            bench.now,
        );
        let more = started(&actions);
        readers += more.len();
        open.extend(more);
    }
    assert_eq!(readers, 100);
    // Far above what it takes, far below what anything quadratic would.
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}
