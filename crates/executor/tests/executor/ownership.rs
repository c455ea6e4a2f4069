//! Who may command, and who is told what: epochs, lost streams, new owners.

use crate::common::{
    Attached, ENDLESS, Launching, QUICK, Running, Scheduler, Tables, executor_with, launch_root,
    new_query, options, until,
};
use paceline_model::{OutputId, PartitionRange, QueryId, StageGraph, StageId};
use paceline_proto::cluster::from_scheduler::Message as Told;
use paceline_proto::cluster::task_state::State;
use paceline_proto::{cluster, query_bytes};

/// Launches a whole single-stage query as one task with one slot.
async fn launch(to: &Attached, graph: &StageGraph, query: QueryId, epoch: u64) -> OutputId {
    launch_root(to, graph, query, (epoch, 0)).await
}

/// Takes a query over without changing anything.
async fn take_over(by: &Attached, query: QueryId, epoch: u64) {
    by.tell(Told::CancelTasks(cluster::CancelTasks {
        query: query_bytes(query),
        epoch,
        attempts: vec![],
    }))
    .await;
}

struct Two {
    tables: Tables,
    _a: Scheduler,
    b: Scheduler,
    running: Running,
    at_a: Attached,
    at_b: Attached,
}

/// One executor with one slot, attached to two schedulers.
async fn two() -> Two {
    let mut a = Scheduler::start("scheduler-a").await;
    let mut b = Scheduler::start("scheduler-b").await;
    let mut options = options(&[a.address, b.address]);
    options.slots = 1;
    let running = executor_with(options);
    let (at_a, at_b) = (a.attached().await, b.attached().await);
    Two {
        tables: Tables::new().await,
        _a: a,
        b,
        running,
        at_a,
        at_b,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_takeover_only_the_new_owner_is_obeyed_and_told() {
    let mut two = two().await;
    let graph = two.tables.plan(ENDLESS, &[1]).await;
    let query = new_query();
    let id = launch(&two.at_a, &graph, query, 0).await;
    two.at_a.running(id).await;

    take_over(&two.at_b, query, 1).await;
    two.at_b.running(id).await;
    two.at_a.cancel(0, id).await;
    let refused = || {
        two.running.metric(
            "paceline_executor_refused_commands_total",
            Some("stale_epoch"),
        )
    };
    until("the stale command is refused", || refused() == 1.0).await;
    let again = launch(&two.at_a, &graph, query, 0).await;
    let State::Failed(error) = two.at_a.ended(again).await else {
        panic!("a stale launch was carried out");
    };
    assert_eq!(error.class, "fenced", "{error:?}");
    assert_eq!(two.running.executor.status().slots_used, 1, "it still runs");

    two.at_b.cancel(1, id).await;
    let (state, end) = two.at_b.ended_with(id).await;
    assert_eq!(end, State::Cancelled(cluster::Cancelled {}));
    assert_eq!(state.epoch, 1);
    assert_eq!(two.at_a.ends_within_heartbeats(id, 3).await, 0);
}

/// Launches the plan of a single-stage query as that stage of a larger one.
async fn launch_as(
    stage: u32,
    to: &Attached,
    graph: &StageGraph,
    query: QueryId,
    epoch: u64,
) -> OutputId {
    let mut spec = graph.root().clone();
    spec.id = StageId(stage);
    let all = PartitionRange::new(0, spec.partitions);
    let attempt = u32::try_from(epoch << 16).unwrap();
    let launch = Launching::new(query, epoch, &spec).inline(1 << 20);
    launch.send(to, 0, attempt, all, 1).await
}

/// Its new owner planned it afresh while this executor was not attached to it. What that one launches is
/// told to its end, whatever it launches after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_plan_of_a_later_epoch_stops_nothing_of_that_epoch() {
    let mut two = two().await;
    let endless = two.tables.plan(ENDLESS, &[1]).await;
    let quick = two.tables.plan(QUICK, &[1]).await;
    let query = new_query();
    let former = launch_as(1, &two.at_a, &endless, query, 0).await;
    two.at_a.running(former).await;

    let adoption = cluster::Adoption {
        query: query_bytes(query),
        epoch: 1,
        afresh: false,
    };
    let queries = vec![adoption];
    two.at_b.tell(Told::Adopt(cluster::Adopt { queries })).await;
    // Both wait for the only slot, which the former attempt has.
    let below = launch_as(0, &two.at_b, &quick, query, 1).await;
    let above = launch_as(1, &two.at_b, &quick, query, 1).await;
    two.at_b.cancel(1, former).await;
    let cancelled = State::Cancelled(cluster::Cancelled {});
    assert_eq!(two.at_b.ended(former).await, cancelled);
    for id in [below, above] {
        let end = two.at_b.ended(id).await;
        assert!(matches!(end, State::Finished(_)), "{id}: {end:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_owner_hears_of_outputs_that_the_old_one_had_acknowledged() {
    let mut two = two().await;
    let graph = two.tables.plan("SELECT * FROM t", &[1]).await;
    let query = new_query();
    let stage = graph.root();
    let all = PartitionRange::new(0, stage.partitions);
    let id = Launching::new(query, 4, stage)
        .send(&two.at_a, 0, 0, all, 1)
        .await;
    assert!(matches!(two.at_a.ended(id).await, State::Finished(_)));
    take_over(&two.at_b, query, 5).await;
    let (state, end) = two.at_b.ended_with(id).await;
    let State::Finished(finished) = end else {
        panic!("{end:?}");
    };
    assert_eq!(finished.output.unwrap().rows, 40_000);
    assert_eq!(state.epoch, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_ends_while_its_owner_is_away_is_told_on_its_return() {
    let mut two = two().await;
    let endless = two.tables.plan(ENDLESS, &[1]).await;
    let quick = two.tables.plan(QUICK, &[1]).await;
    let (first, second) = (new_query(), new_query());
    let occupying = launch(&two.at_a, &endless, first, 0).await;
    two.at_a.running(occupying).await;
    let waiting = launch(&two.at_b, &quick, second, 0).await;
    two.at_a
        .load("it waits", |load| load.slots_queued == 1)
        .await;

    let address = two.b.kill();
    until("the loss is noticed", || {
        two.running.executor.status().schedulers.len() == 1
    })
    .await;
    two.at_a.cancel(0, occupying).await;
    assert_eq!(
        two.at_a.ended(occupying).await,
        State::Cancelled(cluster::Cancelled {})
    );
    let finished = || {
        two.running
            .metric("paceline_executor_tasks_total", Some("finished"))
    };
    until("it ran without its owner", || finished() == 1.0).await;
    assert_eq!(
        two.at_a.ends_within_heartbeats(waiting, 3).await,
        0,
        "not A's business"
    );

    let mut b = Scheduler::start_at("scheduler-b", address).await;
    let mut at_b = b.attached().await;
    let held = &at_b.inventory()[&second.to_bytes().to_vec()];
    assert_eq!(held.running.len(), 1, "its end was not heard yet: {held:?}");
    let State::Finished(finished) = at_b.ended(waiting).await else {
        panic!("it failed");
    };
    assert!(finished.inline_result.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_come_again_until_they_are_acknowledged_and_outputs_stay_in_the_inventory() {
    let tables = Tables::new().await;
    let mut scheduler = Scheduler::start("scheduler").await;
    let running = executor_with(options(&[scheduler.address]));
    let mut attached = scheduler.attached().await;
    attached.acknowledges = false;
    let graph = tables.plan("SELECT * FROM t", &[2]).await;
    let stage = graph.root();
    let query = new_query();
    let all = PartitionRange::new(0, stage.partitions);
    let id = Launching::new(query, 2, stage)
        .send(&attached, 0, 0, all, 1)
        .await;
    let (first, _) = attached.ended_with(id).await;
    assert_ne!(first.number, 0);

    let address = scheduler.kill();
    let mut scheduler = Scheduler::start_at("scheduler", address).await;
    let mut attached = scheduler.attached().await;
    let held = &attached.inventory()[&query.to_bytes().to_vec()];
    assert_eq!(held.epoch, 2);
    assert_eq!(held.finished.len(), 1);
    let (again, _) = attached.ended_with(id).await;
    assert_eq!(again, first);
    let unacknowledged = || running.metric("paceline_executor_unacknowledged_states", None);
    until("it is acknowledged", || unacknowledged() == 0.0).await;

    let address = scheduler.kill();
    let mut scheduler = Scheduler::start_at("scheduler", address).await;
    let mut attached = scheduler.attached().await;
    let held = &attached.inventory()[&query.to_bytes().to_vec()];
    assert_eq!(held.finished.len(), 1, "the output is still held");
    assert_eq!(attached.ends_within_heartbeats(id, 3).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_owns_is_dropped_after_a_while() {
    let tables = Tables::new().await;
    let mut scheduler = Scheduler::start("scheduler").await;
    let mut options = options(&[scheduler.address]);
    options.orphan_ttl = std::time::Duration::from_millis(100);
    let running = executor_with(options);
    let mut attached = scheduler.attached().await;
    let stored = tables.plan("SELECT * FROM t", &[2]).await;
    let stage = stored.root();
    let all = PartitionRange::new(0, stage.partitions);
    let id = Launching::new(new_query(), 0, stage)
        .send(&attached, 0, 0, all, 1)
        .await;
    assert!(matches!(attached.ended(id).await, State::Finished(_)));
    let endless = tables.plan(ENDLESS, &[2]).await;
    let id = launch(&attached, &endless, new_query(), 0).await;
    attached.running(id).await;
    attached.ends_within_heartbeats(id, 4).await;
    assert_eq!(
        running.executor.status().queries,
        2,
        "owned, however long it takes"
    );

    scheduler.kill();
    until("all is dropped", || {
        let status = running.executor.status();
        let memory = running.metric("paceline_exchange_memory_bytes", None);
        (status.queries, status.slots_used, memory) == (0, 0, 0.0)
    })
    .await;
    assert_eq!(
        running.metric("paceline_executor_orphaned_queries_total", None),
        2.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_executor_waits_for_no_owner_that_is_gone() {
    let tables = Tables::new().await;
    let mut scheduler = Scheduler::start("scheduler").await;
    let mut options = options(&[scheduler.address]);
    options.draining_orphan_ttl = std::time::Duration::from_millis(100);
    let running = executor_with(options);
    let mut attached = scheduler.attached().await;
    let stored = tables.plan("SELECT * FROM t", &[2]).await;
    let all = PartitionRange::new(0, stored.root().partitions);
    let launch = Launching::new(new_query(), 0, stored.root());
    let id = launch.send(&attached, 0, 0, all, 1).await;
    assert!(matches!(attached.ended(id).await, State::Finished(_)));
    running.executor.drain();
    attached.load("it says so", |load| load.draining).await;
    attached.ends_within_heartbeats(id, 4).await;
    assert_eq!(running.executor.status().queries, 1, "its owner is there");

    scheduler.kill();
    running.done().await;
    let dropped = running.metric("paceline_executor_orphaned_queries_total", None);
    assert_eq!(dropped, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_is_enough_to_find_all_schedulers_and_new_ones() {
    let mut a = Scheduler::start("scheduler-a").await;
    let mut b = Scheduler::start("scheduler-b").await;
    let running = executor_with(options(&[a.address]));
    let at_a = a.attached().await;
    let member = |scheduler: &Scheduler| cluster::Member {
        scheduler: scheduler.id.clone(),
        cluster_address: scheduler.address.to_string(),
        ..cluster::Member::default()
    };
    let members = |all: &[&Scheduler]| {
        let schedulers = all.iter().map(|scheduler| member(scheduler)).collect();
        Told::Members(cluster::Members { schedulers })
    };
    at_a.tell(members(&[&a, &b])).await;
    let at_b = b.attached().await;
    assert_eq!(at_b.hello.executor, at_a.hello.executor);

    let mut c = Scheduler::start("scheduler-c").await;
    let a_address = a.kill();
    at_b.tell(members(&[&b, &c])).await;
    c.attached().await;
    let mut a = Scheduler::start_at("scheduler-a-again", a_address).await;
    a.attached().await;
    until("all three are attached", || {
        let mut schedulers = running.executor.status().schedulers;
        schedulers.sort();
        let names: Vec<_> = schedulers.iter().map(|s| s.as_str()).collect();
        names == ["scheduler-a-again", "scheduler-b", "scheduler-c"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_no_end() {
    let status = tonic::Status::failed_precondition("protocol 1 is not 2");
    let refusing = Scheduler::refusing(status).await;
    let mut other = Scheduler::start("scheduler").await;
    let running = executor_with(options(&[refusing.address, other.address]));
    other.attached().await;
    let refusals = || running.metric("paceline_executor_attaches_total", Some("refused"));
    until("the refusal is counted", || refusals() >= 1.0).await;
    until("the other one is attached", || {
        running.executor.status().schedulers.len() == 1
    })
    .await;
}
