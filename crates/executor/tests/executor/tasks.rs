//! The life of attempts: slots, cancels, ends of queries, drains, and messages that nobody should
//! send.

use crate::common::{
    Attached, Cluster, ENDLESS, LARGE, Launching, QUICK, decode, executor_with, launch_root, lines,
    new_query, options, soon, until,
};
use bytes::Bytes;
use paceline_executor::{Executor, ExecutorOptions, Phase, StartError};
use paceline_model::{Attempt, OutputId, PartitionRange, QueryId, StageGraph, StageId, TaskId};
use paceline_proto::cluster;
use paceline_proto::cluster::from_scheduler::Message as Told;
use paceline_proto::cluster::task_state::State;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn cancelled() -> State {
    State::Cancelled(cluster::Cancelled {})
}

async fn launch(to: &Attached, graph: &StageGraph, query: QueryId, task: u32) -> OutputId {
    launch_root(to, graph, query, (0, task)).await
}

fn failed(state: State) -> cluster::Failed {
    match state {
        State::Failed(failed) => failed,
        other => panic!("{other:?}"),
    }
}

async fn answers(cluster: &mut Cluster) {
    let graph = cluster.tables.plan(QUICK, &[1]).await;
    let id = launch(&cluster.attached[0], &graph, new_query(), 0).await;
    let State::Finished(finished) = cluster.attached[0].ended(id).await else {
        panic!("it failed");
    };
    let answer = decode(&finished.inline_result.unwrap());
    assert_eq!(lines(&answer), cluster.tables.expected(QUICK).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_wait_for_slots_in_order_and_a_cancel_frees_them() {
    let mut cluster = Cluster::start_with(1, |options| options.slots = 1).await;
    let endless = cluster.tables.plan(ENDLESS, &[1]).await;
    let quick = cluster.tables.plan(QUICK, &[1]).await;
    let attached = &mut cluster.attached[0];
    let running = launch(attached, &endless, new_query(), 0).await;
    attached.running(running).await;
    let leaving = launch(attached, &endless, new_query(), 0).await;
    let waiting = launch(attached, &quick, new_query(), 0).await;
    let both = |load: &cluster::Load| (load.slots_used, load.slots_queued) == (1, 2);
    attached.load("two wait", both).await;

    attached.cancel(0, leaving).await;
    assert_eq!(attached.ended(leaving).await, cancelled());
    assert_eq!(attached.ends_within_heartbeats(waiting, 3).await, 0);
    attached.cancel(0, running).await;
    assert_eq!(attached.ended(running).await, cancelled());
    assert!(matches!(attached.ended(waiting).await, State::Finished(_)));
    let idle = |load: &cluster::Load| (load.slots_used, load.slots_queued) == (0, 0);
    attached.load("all slots are free", idle).await;
    assert_eq!(
        cluster.executors[0].metric("paceline_executor_tasks_total", Some("cancelled")),
        2.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_known_is_confirmed_as_cancelled() {
    let mut cluster = Cluster::start(1).await;
    let id = OutputId {
        query: new_query(),
        stage: StageId(3),
        task: TaskId(1),
        attempt: Attempt(2),
    };
    cluster.attached[0].cancel(0, id).await;
    assert_eq!(cluster.attached[0].ended(id).await, cancelled());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_query_stops_its_tasks_and_frees_its_outputs() {
    let mut cluster = Cluster::start_with(1, |options| {
        // So that outputs go to disk.
        options.exchange_memory = paceline_model::ByteSize(1);
    })
    .await;
    let stored = cluster.tables.plan(LARGE, &[2]).await;
    let endless = cluster.tables.plan(ENDLESS, &[1]).await;
    let query = new_query();
    let attached = &mut cluster.attached[0];
    let all = PartitionRange::new(0, stored.root().partitions);
    let output = Launching::new(query, 0, stored.root());
    let output = output.send(attached, 0, 0, all, 1).await;
    let State::Finished(finished) = attached.ended(output).await else {
        panic!("it failed");
    };
    assert!(finished.output.unwrap().disk_bytes > 0);
    assert!(cluster.executors[0].files() > 0);
    // A stage of the same query, with another number.
    let mut stage = endless.root().clone();
    stage.id = StageId(1);
    let all = PartitionRange::new(0, stage.partitions);
    let running = Launching::new(query, 0, &stage)
        .send(attached, 0, 0, all, 2)
        .await;
    attached.running(running).await;

    attached.end(0, query).await;
    assert_eq!(attached.ended(running).await, cancelled());
    let executor = &cluster.executors[0];
    until("nothing is left", || {
        let status = executor.executor.status();
        (status.queries, status.slots_used, executor.files()) == (0, 0, 0)
    })
    .await;
    let late = launch(&cluster.attached[0], &stored, query, 0).await;
    let error = failed(cluster.attached[0].ended(late).await);
    assert_eq!(error.class, "fenced", "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_sent_once() {
    let mut cluster = Cluster::start(1).await;
    let graph = cluster.tables.plan(QUICK, &[1]).await;
    let stage = graph.root();
    let all = PartitionRange::new(0, stage.partitions);
    let query = new_query();
    let attached = &mut cluster.attached[0];
    let early = Launching::new(query, 0, stage).without_plan();
    let early = early.send(attached, 0, 0, all, 1).await;
    let error = failed(attached.ended(early).await);
    assert_eq!(error.class, "retryable");
    assert!(error.message.starts_with("plan not here"), "{error:?}");
    let with_plan = Launching::new(query, 0, stage)
        .send(attached, 0, 1, all, 1)
        .await;
    assert!(matches!(
        attached.ended(with_plan).await,
        State::Finished(_)
    ));
    let without = Launching::new(query, 0, stage).without_plan();
    let without = without.send(attached, 0, 2, all, 1).await;
    assert!(matches!(attached.ended(without).await, State::Finished(_)));

    let other = cluster.tables.plan(ENDLESS, &[1]).await;
    let other = Launching::new(query, 0, other.root())
        .send(attached, 0, 3, all, 1)
        .await;
    let error = failed(attached.ended(other).await);
    assert_eq!(
        error.class, "bug",
        "another plan in the same epoch: {error:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_launch_runs_nothing_twice() {
    let mut cluster = Cluster::start(1).await;
    let graph = cluster.tables.plan("SELECT * FROM t", &[1]).await;
    let stage = graph.root();
    let all = PartitionRange::new(0, stage.partitions);
    let query = new_query();
    let attached = &mut cluster.attached[0];
    for _ in 0..2 {
        let id = Launching::new(query, 0, stage)
            .send(attached, 0, 0, all, 1)
            .await;
        assert!(matches!(attached.ended(id).await, State::Finished(_)));
    }
    assert_eq!(
        cluster.executors[0].metric("paceline_executor_attempts_total", None),
        1.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses() {
    let mut cluster = Cluster::start_with(1, |options| {
        options.slots = 1;
        options.queue_limit = 1;
    })
    .await;
    let endless = cluster.tables.plan(ENDLESS, &[1]).await;
    let query = new_query();
    let attached = &mut cluster.attached[0];
    for task in 0..2 {
        launch(attached, &endless, query, task).await;
    }
    let refused = launch(attached, &endless, query, 2).await;
    let error = failed(attached.ended(refused).await);
    assert_eq!(error.class, "resource", "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_go_on_while_every_thread_computes() {
    let mut cluster = Cluster::start(1).await;
    let endless = cluster.tables.plan(ENDLESS, &[1]).await;
    let attached = &mut cluster.attached[0];
    let query = new_query();
    for task in 0..2 {
        let id = launch(attached, &endless, query, task).await;
        attached.running(id).await;
    }
    let started = std::time::Instant::now();
    let before = attached.heartbeats;
    let unknown = OutputId {
        query: new_query(),
        stage: StageId(0),
        task: TaskId(0),
        attempt: Attempt(0),
    };
    attached.ends_within_heartbeats(unknown, 10).await;
    assert_eq!(attached.heartbeats, before + 10);
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_executor_finishes_serves_and_then_leaves_nothing() {
    let mut cluster = Cluster::start_with(2, |options| options.slots = 1).await;
    let sql = "SELECT k % 10, count(*) FROM t GROUP BY k % 10";
    let graph = cluster.tables.plan(sql, &[1, 1]).await;
    let query = new_query();
    let (_, outputs) = crate::common::run_graph(&graph, query, 0, &mut cluster.attached).await;
    let endless = cluster.tables.plan(ENDLESS, &[1]).await;
    let other_query = new_query();
    let running = launch(&cluster.attached[1], &endless, other_query, 0).await;
    cluster.attached[1].running(running).await;

    cluster.executors[1].executor.drain();
    cluster.attached[1]
        .load("it says so", |load| load.draining)
        .await;
    let late = launch(&cluster.attached[1], &endless, new_query(), 0).await;
    let error = failed(cluster.attached[1].ended(late).await);
    assert_eq!(error.class, "retryable");
    assert!(error.message.starts_with("draining"), "{error:?}");

    // Its outputs are still there for others.
    let root = graph.root();
    let all = PartitionRange::new(0, root.partitions);
    let reading = Launching::new(query, 0, root).inputs(&outputs).inline(1000);
    let reading = reading.send(&cluster.attached[0], 0, 7, all, 1).await;
    assert!(matches!(
        cluster.attached[0].ended(reading).await,
        State::Finished(_)
    ));

    cluster.attached[1].end(0, query).await;
    assert_eq!(
        cluster.attached[1].ends_within_heartbeats(running, 3).await,
        0
    );
    assert_eq!(
        cluster.executors[1].executor.status().phase,
        Phase::Draining
    );
    cluster.attached[1].cancel(0, running).await;
    assert_eq!(cluster.attached[1].ended(running).await, cancelled());
    cluster.executors[1].done().await;
    cluster.attached[1].gone().await;
    assert_eq!(cluster.executors[1].files(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_takes_too_long_is_ended() {
    let mut cluster = Cluster::start_with(1, |options| {
        options.drain_timeout = std::time::Duration::from_millis(100);
    })
    .await;
    let endless = cluster.tables.plan(ENDLESS, &[1]).await;
    let id = launch(&cluster.attached[0], &endless, new_query(), 0).await;
    cluster.attached[0].running(id).await;
    cluster.executors[0].executor.drain();
    cluster.executors[0].done().await;
    assert_eq!(cluster.executors[0].executor.status().phase, Phase::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_aborts_what_runs_and_clears_the_disk() {
    let mut cluster = Cluster::start_with(1, |options| {
        options.exchange_memory = paceline_model::ByteSize(1);
    })
    .await;
    let stored = cluster.tables.plan(LARGE, &[2]).await;
    let endless = cluster.tables.plan(ENDLESS, &[1]).await;
    let all = PartitionRange::new(0, stored.root().partitions);
    let output = Launching::new(new_query(), 0, stored.root());
    let output = output.send(&cluster.attached[0], 0, 0, all, 1).await;
    cluster.attached[0].ended(output).await;
    let running = launch(&cluster.attached[0], &endless, new_query(), 0).await;
    cluster.attached[0].running(running).await;
    assert!(cluster.executors[0].files() > 0);
    cluster.executors[0].executor.stop();
    cluster.executors[0].done().await;
    cluster.attached[0].gone().await;
    assert_eq!(cluster.executors[0].files(), 0);
}

/// Outputs that a launch names as its input and nobody has, with what is wrong with each.
fn strange_outputs() -> [(&'static str, cluster::Output); 3] {
    let output = |executor, first_partition, partitions| cluster::Output {
        executor,
        first_partition,
        partitions,
        ..cluster::Output::default()
    };
    [
        ("executor", output(5, 0, 1)),
        ("partitions", output(0, 0, u32::MAX)),
        ("partitions", output(0, u32::MAX, 2)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_nobody_should_send_do_no_harm() {
    let mut cluster = Cluster::start(1).await;
    let graph = cluster.tables.plan(QUICK, &[1]).await;
    let stage = graph.root();
    let all = PartitionRange::new(0, stage.partitions);
    let attached = &mut cluster.attached[0];
    let short = || Bytes::from_static(b"short");
    attached
        .tell(Told::EndQuery(cluster::EndQuery {
            query: short(),
            epoch: 0,
        }))
        .await;
    attached
        .tell(Told::CancelTasks(cluster::CancelTasks {
            query: short(),
            ..cluster::CancelTasks::default()
        }))
        .await;
    let mut nameless = Launching::new(new_query(), 0, stage).raw();
    nameless.query = short();
    attached.tell(Told::Launch(nameless)).await;
    let acknowledge = cluster::Acknowledge {
        numbers: vec![0, 99, u64::MAX],
    };
    attached.tell(Told::Acknowledge(acknowledge)).await;
    attached
        .tell(Told::Welcome(cluster::Welcome::default()))
        .await;

    // Those that can be answered are.
    let mut garbage = stage.clone();
    garbage.plan = std::sync::Arc::from(&b"this is no plan"[..]);
    let id = Launching::new(new_query(), 0, &garbage)
        .send(attached, 0, 0, all, 1)
        .await;
    failed(attached.ended(id).await);
    let too_far = PartitionRange::new(1_000_000, 7);
    let id = Launching::new(new_query(), 0, stage)
        .send(attached, 0, 0, too_far, 1)
        .await;
    failed(attached.ended(id).await);
    let none = PartitionRange::new(0, 0);
    let id = Launching::new(new_query(), 0, stage)
        .send(attached, 0, 0, none, 1)
        .await;
    assert_eq!(failed(attached.ended(id).await).class, "bug");
    let beyond = PartitionRange::new(u32::MAX, 2);
    let id = Launching::new(new_query(), 0, stage)
        .send(attached, 0, 0, beyond, 1)
        .await;
    assert_eq!(failed(attached.ended(id).await).class, "bug");
    for (wrong, output) in strange_outputs() {
        let query = new_query();
        let mut reading = Launching::new(query, 0, stage).raw();
        reading.executors = vec![cluster::ExecutorRef::default()];
        reading.inputs = vec![cluster::StageOutputs {
            stage: 0,
            outputs: vec![output],
        }];
        reading.tasks = vec![cluster::TaskLaunch {
            partitions: 1,
            ..cluster::TaskLaunch::default()
        }];
        attached.tell(Told::Launch(reading)).await;
        let id = OutputId {
            query,
            stage: stage.id,
            task: TaskId(0),
            attempt: Attempt(0),
        };
        let error = failed(attached.ended(id).await);
        assert_eq!(error.class, "bug");
        assert!(error.message.contains(wrong), "{error:?}");
    }

    let executor = &cluster.executors[0];
    let malformed = executor.metric(
        "paceline_executor_refused_commands_total",
        Some("malformed"),
    );
    assert!(malformed >= 8.0, "{malformed}");
    answers(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_data_plane_closes_the_connection() {
    let mut cluster = Cluster::start(1).await;
    let address = cluster.executors[0].executor.address().to_string();
    let mut connection = tokio::net::TcpStream::connect(&address).await.unwrap();
    connection.write_all(&[0xff; 4096]).await.unwrap();
    let mut answer = Vec::new();
    // A reset is as good as an end.
    let _ = soon("it is closed", connection.read_to_end(&mut answer)).await;
    answers(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_cannot_be_says_why() {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let first = executor_with(options(&[address]));
    let start = |options: ExecutorOptions| {
        let registry = prometheus::Registry::new();
        Executor::start(options, &registry).unwrap_err()
    };
    let mut taken = options(&[address]);
    taken.directory = first.directory.path().to_path_buf();
    taken.bind = first.executor.address().parse().unwrap();
    let error = start(taken);
    assert!(matches!(error, StartError::Bind { .. }), "{error}");
    assert!(
        error.to_string().contains(first.executor.address()),
        "{error}"
    );

    let file = first.directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut no_directory = options(&[address]);
    no_directory.directory = file;
    let error = start(no_directory);
    assert!(error.to_string().contains("file/exchange"), "{error}");

    let mut no_schedulers = options(&[address]);
    no_schedulers.schedulers.clear();
    assert!(start(no_schedulers).to_string().contains("schedulers"));
    let error = Executor::start(options(&[address]), &first.registry).unwrap_err();
    assert!(matches!(error, StartError::Metrics(_)), "{error}");
}
