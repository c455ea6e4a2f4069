//! Whatever tasks do to their threads, the executor says that it is alive, and obeys.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::Duration;

use paceline_model::{Attempt, ByteSize, OutputId, QueryId, StageId, TaskId};
use paceline_proto::cluster;
use paceline_proto::cluster::task_state::State;
use tempfile::TempDir;

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
    let nobodys = OutputId {
        query: QueryId(uuid::Uuid::new_v4()),
        stage: StageId(0),
        task: TaskId(0),
        attempt: Attempt(0),
    };
    attached.cancel(0, nobodys).await;
    let cancelled = State::Cancelled(cluster::Cancelled {});
    assert_eq!(attached.ended(nobodys).await, cancelled);
    attached.beats(10).await;
    assert!(!next.is_finished(), "a thread was free");
    released.wait();
    soon("the threads are free again", next).await.unwrap();
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
