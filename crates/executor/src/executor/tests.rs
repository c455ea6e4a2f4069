//! Whatever tasks do to their threads, the executor says that it is alive, and obeys.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::Duration;

use paceline_model::{Attempt, OutputId, QueryId, StageId, TaskId};
use paceline_proto::cluster;
use paceline_proto::cluster::task_state::State;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_go_on_while_every_query_thread_is_blocked() {
    let mut scheduler = Scheduler::start("scheduler-a").await;
    let directory = tempfile::tempdir().unwrap();
    let options = ExecutorOptions {
        schedulers: vec![scheduler.address.to_string()],
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        slots: SLOTS,
        directory: directory.path().to_path_buf(),
        heartbeat: Duration::from_millis(20),
        ..ExecutorOptions::default()
    };
    let executor = Executor::start(options, &Registry::new()).unwrap();
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
