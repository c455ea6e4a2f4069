//! The counterpart of an executor in tests: a scheduler that speaks the real protocol over real
//! connections, plans over real files, and a driver that runs a graph stage by stage.

mod cluster;
mod data;
mod drive;
mod scheduler;

pub(crate) use cluster::{Cluster, Running, executor_with, new_query, options};
pub(crate) use data::{Tables, lines};
pub(crate) use drive::{ENDLESS, LARGE, Launching, QUICK, decode, launch_root, run_graph};
pub(crate) use scheduler::{Attached, Scheduler};

use std::time::Duration;

/// No test waits longer for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("timed out: {what}"),
    }
}

/// Waits until a condition holds that nobody announces.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            #[expect(
                clippy::disallowed_methods,
                reason = "it looks again until it is so, with a deadline"
            )]
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
