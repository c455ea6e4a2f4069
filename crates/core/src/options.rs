//! What an operator may set about the life of queries.

use std::time::Duration;

/// Limits and waits. Every field has a default that suits a small cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Queries that run at the same time; further ones wait. At least 1.
    pub max_running_queries: usize,
    /// Queries that may wait for their turn; further ones are told to try again.
    pub max_queued_queries: usize,
    /// Attempts at one task before its query fails. At least 1.
    pub max_attempts: u32,
    /// How long a task waits after its first failure; it doubles with each further one.
    pub backoff: Duration,
    /// The longest that a task waits after a failure.
    pub backoff_cap: Duration,
    /// Slots' worth of tasks that may wait at an executor beyond those it can run, so that it never
    /// idles for a round trip; none means as many as it has slots.
    pub queue_depth: Option<u32>,
    /// Bytes of storage that one task should scan at most: above, a stage gets more tasks than there
    /// are executors, so that a lost one is cheap to redo.
    pub scan_bytes_per_task: u64,
    /// How long queries wait while no executor takes tasks.
    pub no_executor_grace: Duration,
    /// Re-runs for lost outputs that a query is granted for each of its tasks, …
    pub reruns_per_task: u32,
    /// … and beyond those.
    pub reruns_per_query: u32,
    /// Ended queries that are remembered, so that executors which were away can be told.
    pub remembered_queries: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_running_queries: 64,
            max_queued_queries: 1000,
            max_attempts: 4,
            backoff: Duration::from_millis(50),
            backoff_cap: Duration::from_secs(2),
            queue_depth: None,
            scan_bytes_per_task: 256 << 20,
            no_executor_grace: Duration::from_secs(30),
            reruns_per_task: 4,
            reruns_per_query: 100,
            remembered_queries: 4096,
        }
    }
}

impl Options {
    /// How long a task waits after its `failures`-th failure.
    pub(crate) fn backoff_after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        self.backoff
            .saturating_mul(1 << doublings)
            .min(self.backoff_cap)
    }

    /// How many re-runs a query of that many tasks is granted.
    pub(crate) fn rerun_limit(&self, tasks: u32) -> u32 {
        self.reruns_per_task
            .saturating_mul(tasks)
            .saturating_add(self.reruns_per_query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let options = Options::default();
        let millis: Vec<u128> = [1, 2, 3, 6, 7, 1000]
            .into_iter()
            .map(|failures| options.backoff_after(failures).as_millis())
            .collect();
        assert_eq!(millis, [50, 100, 200, 1600, 2000, 2000]);
    }
}
