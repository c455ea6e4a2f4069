//! Thousands of seeded runs of the core against executors that die, come back, lose outputs and
//! repeat themselves, and against schedulers that take over from each other.
//!
//! After every event the core's own invariants are checked, and every action is judged from outside.
//! When the faults end, every query must come to its end, and nothing may be left behind.
//! A failing run prints its seed; `SEED=… cargo test` runs that one alone.

mod checks;
mod executor;
mod graphs;
mod ownership;
mod rng;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::time::Duration;

use paceline_core::{Counters, Event, Options, Outcome};
use paceline_model::{Epoch, ErrorClass, ExecutorId, QueryId};

use executor::Executor;
use world::{Client, World, add};

/// What a campaign does beside running queries.
#[derive(Clone, Copy)]
struct Faults {
    executors: bool,
    schedulers: bool,
    clients: bool,
}

#[derive(Default)]
struct Seen {
    counters: Counters,
    result_changes: u64,
    finished: u64,
    failed: u64,
    cancelled: u64,
}

pub(crate) fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..count).collect(),
    }
}

fn campaign(count: u64, faults: Faults) -> Seen {
    let mut seen = Seen::default();
    for seed in seeds(count) {
        let outcome = std::panic::catch_unwind(|| run(seed, faults));
        let mut world = outcome.unwrap_or_else(|_| panic!("failed with SEED={seed}"));
        add(&mut seen.counters, world.core.counters());
        add(&mut seen.counters, std::mem::take(&mut world.past));
        seen.result_changes += world.result_changes;
        for client in world.clients.values() {
            match client.outcome.as_ref().unwrap() {
                Outcome::Finished { .. } => seen.finished += 1,
                Outcome::Failed(_) => seen.failed += 1,
                Outcome::Cancelled => seen.cancelled += 1,
            }
        }
    }
    seen
}

fn run(seed: u64, faults: Faults) -> World {
    run_in(World::new(seed, Options::default()), faults)
}

fn run_in(mut world: World, faults: Faults) -> World {
    world.options = Options {
        max_running_queries: 1 + world.rng.below(4),
        max_queued_queries: world.rng.below(4),
        queue_depth: [None, Some(0), Some(1)][world.rng.below(3)],
        max_attempts: 6,
        ..Options::default()
    };
    world.core = paceline_core::Core::new(world.options.clone());
    world.user_errors = faults.clients && world.rng.one_in(4);
    let any = faults.executors || faults.clients;
    world.faults = any;
    let executors = 1 + world.rng.below(4);
    for _ in 0..executors {
        add_executor(&mut world);
    }
    let queries = 1 + world.rng.below(6);
    let steps = 40 + world.rng.below(400);
    for step in 0..steps {
        if world.clients.len() < queries && (step == 0 || world.rng.one_in(20)) {
            submit(&mut world, faults);
        }
        progress(&mut world);
        if faults.executors && world.rng.one_in(12) {
            executor_fault(&mut world);
        }
        if faults.clients && world.rng.one_in(40) {
            client_fault(&mut world);
        }
        if faults.schedulers && world.rng.one_in(120) {
            world.take_over();
        }
    }
    come_to_rest(&mut world);
    leave_nothing(&mut world);
    world
}

fn add_executor(world: &mut World) {
    let id = ExecutorId::new(format!("x{}", world.executors.len()));
    let slots = 1 + world.rng.below(4) as u32;
    world
        .executors
        .insert(id.clone(), Executor::new(id.clone(), slots));
    world.attach(&id);
}

fn submit(world: &mut World, faults: Faults) {
    let query = support::query(world.clients.len() as u128 + 1);
    let graph = graphs::random(&mut world.rng, false);
    let deadline = (faults.clients && world.rng.one_in(8))
        .then(|| world.now.after(Duration::from_millis(200)));
    world.graphs.insert(query, graph.clone());
    world.clients.insert(
        query,
        Client {
            graph: graph.clone(),
            epoch: Epoch(0),
            outcome: None,
            result: None,
            gone: false,
            cancelled: false,
            has_deadline: deadline.is_some(),
            released: false,
            journal: Vec::new(),
        },
    );
    world.tell(Event::Submit {
        query,
        graph,
        epoch: Epoch(0),
        deadline,
        promised: false,
    });
}

fn some_executor(world: &mut World) -> Option<ExecutorId> {
    let ids: Vec<ExecutorId> = world.executors.keys().cloned().collect();
    world.rng.pick(&ids).cloned()
}

/// Time goes by, messages arrive, attempts get on. Attempts take a while, so that faults meet them.
fn progress(world: &mut World) {
    let pause = world.rng.below(15) as u64;
    world.now = world.now.after(Duration::from_millis(pause));
    if world.wake.is_some_and(|at| at <= world.now) {
        world.wake = None;
        world.tell(Event::Tick);
    }
    for _ in 0..3 {
        if let Some(id) = some_executor(world) {
            world.deliver_command(&id);
        }
        if world.rng.one_in(2)
            && let Some(id) = some_executor(world)
        {
            world.work(&id);
        }
        world.deliver_report();
    }
}

fn executor_fault(world: &mut World) {
    let Some(id) = some_executor(world) else {
        return;
    };
    let known = world.executors.len();
    let executor = world.executors.get_mut(&id).unwrap();
    match world.rng.below(10) {
        // The process is gone; whether the scheduler notices before others do is open.
        0 if executor.alive => {
            executor.alive = false;
            executor.attached = false;
            executor.queries.clear();
            executor.inbox.clear();
        }
        // The stream breaks, and the scheduler has not noticed yet.
        1 => executor.attached = false,
        // The scheduler notices.
        2 | 3 if !executor.attached => lose(world, id),
        // The executor is back before or after the scheduler noticed.
        4 | 5 if executor.alive => world.attach(&id),
        // An output is damaged.
        6 => {
            if let Some(share) = executor.queries.values_mut().last() {
                share.outputs.pop_first();
            }
        }
        7 if known < 8 => add_executor(world),
        8 if executor.alive && world.rng.one_in(4) => {
            executor.draining = true;
            world.tell(Event::ExecutorDraining { executor: id });
        }
        // The scheduler gives up on it a moment too early.
        9 if executor.alive => {
            lose(world, id.clone());
            if world.rng.one_in(2) {
                progress(world);
            }
            world.attach(&id);
        }
        _ => {
            let (slots_used, slots_queued) = (world.rng.below(4) as u32, world.rng.below(2) as u32);
            world.tell(Event::Load {
                executor: id,
                slots_used,
                slots_queued,
            });
        }
    }
}

fn lose(world: &mut World, executor: ExecutorId) {
    world.tell(Event::ExecutorLost {
        executor,
        reason: "no heartbeat".to_string(),
    });
}

fn client_fault(world: &mut World) {
    let queries: Vec<QueryId> = world.clients.keys().copied().collect();
    let Some(&query) = world.rng.pick(&queries) else {
        return;
    };
    match world.rng.below(4) {
        0 => {
            world.clients.get_mut(&query).unwrap().cancelled = true;
            world.tell(Event::Cancel { query });
        }
        1 => {
            let client = world.clients.get_mut(&query).unwrap();
            client.released |= client.outcome.is_some();
            world.tell(Event::Released { query });
        }
        _ => {
            world.read_result(query);
        }
    }
}

/// Nothing goes wrong any more: everything has to come to an end, in a bounded number of steps.
fn come_to_rest(world: &mut World) {
    world.faults = false;
    world.user_errors = false;
    for id in world.executors.keys().cloned().collect::<Vec<_>>() {
        let executor = &world.executors[&id];
        if executor.alive {
            if !executor.attached {
                world.attach(&id);
            }
            world.tell(Event::Load {
                executor: id,
                slots_used: 0,
                slots_queued: 0,
            });
        } else {
            lose(world, id);
        }
    }
    add_executor(world);
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(steps < 20_000, "it does not come to an end");
        let ids: Vec<ExecutorId> = world.executors.keys().cloned().collect();
        let mut idle = world.reports.is_empty();
        for id in ids {
            idle &= world.executors[&id].inbox.is_empty();
            idle &= world.executors[&id]
                .queries
                .values()
                .all(|share| share.running.is_empty());
            world.deliver_command(&id);
            world.work(&id);
        }
        world.deliver_report();
        if !idle {
            continue;
        }
        if let Some(at) = world.wake.take() {
            world.now = world.now.max(at);
            world.tell(Event::Tick);
            continue;
        }
        if !results_lost(world) {
            return;
        }
    }
}

/// Reads every result that is still wanted. Whether any of them has to be made again.
fn results_lost(world: &mut World) -> bool {
    let open: Vec<QueryId> = world
        .clients
        .iter()
        .filter(|(_, client)| client.result.is_some() && !client.gone && !client.released)
        .map(|(&query, _)| query)
        .collect();
    open.into_iter().any(|query| !world.read_result(query))
}

/// Every query has one outcome that it deserves, and once all are over nobody holds anything.
fn leave_nothing(world: &mut World) {
    for (query, client) in &world.clients {
        let outcome = client.outcome.as_ref();
        let outcome = outcome.unwrap_or_else(|| panic!("{query} has no outcome"));
        match outcome {
            Outcome::Finished { .. } => {}
            Outcome::Cancelled => assert!(client.cancelled),
            Outcome::Failed(error) => match error.class {
                ErrorClass::User | ErrorClass::Retryable | ErrorClass::Resource => {}
                ErrorClass::DeadlineExceeded => assert!(client.has_deadline),
                ErrorClass::Unavailable => {
                    assert!(error.message.contains("re-runs"), "{error}");
                }
                _ => panic!("{query} failed with {error:?}"),
            },
        }
    }
    for query in world.clients.keys().copied().collect::<Vec<_>>() {
        world.tell(Event::Released { query });
    }
    assert!(world.core.queries().is_empty());
    assert_eq!(world.core.running_and_queued(), (0, 0));
    for id in world.executors.keys().cloned().collect::<Vec<_>>() {
        while !world.executors[&id].inbox.is_empty() {
            world.deliver_command(&id);
        }
        let executor = &world.executors[&id];
        assert!(executor.queries.is_empty(), "{id} still holds something");
    }
    for executor in world.core.executors() {
        assert_eq!(executor.slots_committed, 0, "slots leaked");
    }
    assert!(world.actions < 50_000, "{} actions", world.actions);
}

#[test]
fn without_faults_every_query_finishes_at_its_first_attempt() {
    let faults = Faults {
        executors: false,
        schedulers: false,
        clients: false,
    };
    let seen = campaign(500, faults);
    assert!(seen.finished > 0);
    assert_eq!(seen.failed, seen.counters.queries_refused);
    assert_eq!(seen.counters.reruns, 0);
    assert_eq!(seen.counters.stale_reports, 0);
}

#[test]
fn executors_may_die_come_back_and_lose_outputs() {
    let faults = Faults {
        executors: true,
        schedulers: false,
        clients: true,
    };
    let seen = campaign(3000, faults);
    // A campaign in which one of these never happened would prove nothing about it.
    for (what, count) in [
        ("finished", seen.finished),
        ("failed", seen.failed),
        ("cancelled", seen.cancelled),
        ("outputs lost", seen.counters.outputs_lost),
        ("attempts lost", seen.counters.attempts_lost),
        ("attempts cancelled", seen.counters.attempts_cancelled),
        ("outputs taken back", seen.counters.outputs_taken_back),
        ("attempts taken back", seen.counters.attempts_taken_back),
        ("reruns", seen.counters.reruns),
        ("stale reports", seen.counters.stale_reports),
        ("result changes", seen.result_changes),
    ] {
        assert!(
            count > 20 || std::env::var("SEED").is_ok(),
            "{what}: {count}"
        );
    }
    assert!(seen.finished > seen.failed);
}

#[test]
fn schedulers_may_take_over_from_each_other() {
    let faults = Faults {
        executors: true,
        schedulers: true,
        clients: true,
    };
    let seen = campaign(2000, faults);
    for (what, count) in [
        ("finished", seen.finished),
        ("adopted", seen.counters.queries_adopted),
        ("outputs taken back", seen.counters.outputs_taken_back),
        ("attempts taken back", seen.counters.attempts_taken_back),
    ] {
        assert!(
            count > 20 || std::env::var("SEED").is_ok(),
            "{what}: {count}"
        );
    }
}

#[test]
fn equal_events_lead_to_equal_actions() {
    let faults = Faults {
        executors: true,
        schedulers: true,
        clients: true,
    };
    for seed in seeds(50) {
        let traced = || {
            let mut world = World::new(seed, Options::default());
            world.trace = Some(Vec::new());
            run_in(world, faults).trace.unwrap()
        };
        let (first, second) = (traced(), traced());
        assert!(!first.is_empty());
        assert!(first == second, "SEED={seed} led to two different runs");
    }
}
