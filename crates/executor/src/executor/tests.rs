//! Whatever tasks do to their threads, the executor says that it is alive, and obeys.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use futures::StreamExt;
use paceline_exchange::{InputReader, StageOutputs, Which};
use paceline_model::{
    Attempt, ByteSize, ErrorClass, OutputId, OutputLocation, PartitionRange, QueryError, QueryId,
    StageId, TaskId,
};
use paceline_proto::cluster;
use paceline_proto::cluster::task_state::State;
use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use scheduler::Scheduler;

#[expect(
    dead_code,
    reason = "one scheduler's end for all tests; this one says little"
)]
#[path = "../../tests/executor/common/scheduler.rs"]
mod scheduler;

const SLOTS: u32 = 2;

/// No test waits longer for anything.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(value) => value,
        Err(_) => panic!("timed out: {what}"),
    }
}

/// An executor in a directory of its own, which keeps next to no output in memory.
fn executor(scheduler: &Scheduler) -> (Executor, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let options = ExecutorOptions {
        schedulers: vec![scheduler.address.to_string()],
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        slots: SLOTS,
        exchange_memory: ByteSize(1),
        directory: directory.path().to_path_buf(),
        heartbeat: Duration::from_millis(20),
        ..ExecutorOptions::default()
    };
    let executor = Executor::start(options, &Registry::new()).unwrap();
    (executor, directory)
}

fn output() -> OutputId {
    OutputId {
        query: QueryId(uuid::Uuid::new_v4()),
        stage: StageId(0),
        task: TaskId(0),
        attempt: Attempt(0),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_go_on_while_every_query_thread_is_blocked() {
    let mut scheduler = Scheduler::start("scheduler-a").await;
    let (executor, _directory) = executor(&scheduler);
    let mut attached = scheduler.attached().await;

    let threads = &executor.node.query_threads;
    let (blocked, mut all_blocked) = tokio::sync::mpsc::unbounded_channel();
    let released = Arc::new(Barrier::new(SLOTS as usize + 1));
    for _ in 0..SLOTS {
        let (blocked, released) = (blocked.clone(), Arc::clone(&released));
        threads.spawn(async move {
            let _ = blocked.send(());
            released.wait();
        });
    }
    for _ in 0..SLOTS {
        soon("every thread is blocked", all_blocked.recv()).await;
    }
    let next = threads.spawn(async {});

    // A command that is given now is carried out, so what is heard after the answer was said while no
    // thread was free.
    let nobodys = output();
    attached.cancel(0, nobodys).await;
    let cancelled = State::Cancelled(cluster::Cancelled {});
    assert_eq!(attached.ended(nobodys).await, cancelled);
    attached.beats(10).await;
    assert!(!next.is_finished(), "a thread was free");
    released.wait();
    soon("the threads are free again", next).await.unwrap();
}

fn thousand() -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
    RecordBatch::try_from_iter([("n", column)]).unwrap()
}

/// Leaves an output on disk.
async fn leave(executor: &Executor, id: OutputId) {
    let batch = thousand();
    let store = executor.node.means().unwrap().store;
    let writer = store
        .create(id, batch.schema(), PartitionRange::new(0, 1))
        .unwrap();
    writer.write(0, batch).await.unwrap();
    let summary = writer.finish().await.unwrap();
    assert!(summary.disk_bytes > 0, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_go_on_while_what_an_ended_query_left_is_freed() {
    let mut scheduler = Scheduler::start("scheduler-a").await;
    let (executor, _directory) = executor(&scheduler);
    let mut attached = scheduler.attached().await;
    let node = &executor.node;
    let left = output();
    leave(&executor, left).await;

    let (arrived, mut arrivals) = unbounded_channel();
    let released = Arc::new(Barrier::new(2));
    node.gate.close(arrived, Arc::clone(&released));
    attached.end(0, left.query).await;
    soon("it is being freed", arrivals.recv()).await;
    // What is heard after this was said meanwhile.
    let sign = QueryError::new(ErrorClass::Retryable, "a sign of life");
    node.tell_failed(left, &sign);
    assert!(matches!(attached.ended(left).await, State::Failed(_)));
    attached.beats(10).await;
    let usage = || node.means().unwrap().store.usage();
    assert!(usage().disk_bytes > 0, "it was freed long ago");
    released.wait();

    // Commands are carried out in order.
    let next = output();
    attached.cancel(0, next).await;
    let cancelled = State::Cancelled(cluster::Cancelled {});
    assert_eq!(attached.ended(next).await, cancelled);
    assert_eq!(usage().disk_bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_query_that_left_nothing_waits_for_nothing() {
    let mut scheduler = Scheduler::start("scheduler-a").await;
    let (executor, _directory) = executor(&scheduler);
    let mut attached = scheduler.attached().await;
    // Of another query.
    leave(&executor, output()).await;
    let (arrived, mut arrivals) = unbounded_channel();
    let never = Arc::new(Barrier::new(2));
    executor.node.gate.close(arrived, never);
    attached.end(0, output().query).await;
    let next = output();
    attached.cancel(0, next).await;
    let cancelled = State::Cancelled(cluster::Cancelled {});
    assert_eq!(attached.ended(next).await, cancelled);
    assert!(arrivals.try_recv().is_err(), "there is nothing to free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_spill_into_what_goes_with_the_store() {
    let scheduler = Scheduler::start("scheduler-a").await;
    let (executor, directory) = executor(&scheduler);
    let names = |directory: &Path| {
        let entries = std::fs::read_dir(directory).unwrap().flatten();
        entries.map(|entry| entry.file_name()).collect::<Vec<_>>()
    };
    assert_eq!(names(directory.path()), ["exchange"]);
    let means = executor.node.means().unwrap();
    let scratch = means.store.scratch();
    assert!(scratch.starts_with(directory.path()));
    assert_eq!(names(scratch).len(), 1, "the engine has a directory there");
}

/// Directories in which executors keep outputs.
fn homes(directory: &TempDir) -> usize {
    let entries = std::fs::read_dir(directory.path().join("exchange")).unwrap();
    let homes = entries.flatten().filter(|entry| entry.path().is_dir());
    homes.count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_no_reader_and_leaves_nothing() {
    let scheduler = Scheduler::start("scheduler-a").await;
    let (executor, directory) = executor(&scheduler);
    let left = output();
    leave(&executor, left).await;
    let location = OutputLocation {
        task: left.task,
        attempt: left.attempt,
        partitions: PartitionRange::new(0, 1),
        executor: executor.id().clone(),
        address: executor.address().to_string(),
    };
    // Only the first of these is asked for; so the stream stays open.
    let at = StageOutputs {
        schema: thousand().schema(),
        outputs: vec![location],
        range: PartitionRange::new(0, 2),
    };
    let reader = InputReader::new(
        None,
        Peers::new(PeerOptions::default()),
        None,
        left.query,
        HashMap::from([(left.stage, at)]),
        ByteSize::mib(1),
        ExchangeMetrics::register(&Registry::new()).unwrap(),
    );
    let mut rows = reader.read(left.stage, Which::Partition(0)).unwrap();
    let first = soon("rows come", rows.next()).await.unwrap().unwrap();
    assert_eq!((first.num_rows(), homes(&directory)), (1000, 1));
    executor.stop();
    soon("it stops", executor.done()).await;
    assert_eq!(homes(&directory), 0, "the stream has the store");
    drop((rows, reader));
}
