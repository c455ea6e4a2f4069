//! Executors under test, and the schedulers they attach to.

use std::net::SocketAddr;
use std::time::Duration;

use paceline_executor::{Executor, ExecutorOptions};
use paceline_model::{ByteSize, QueryId};
use prometheus::Registry;
use tempfile::TempDir;

use super::{Attached, Scheduler, Tables, soon};

/// One scheduler, some executors, and tables.
pub(crate) struct Cluster {
    pub(crate) tables: Tables,
    /// Kept alive: executors stay attached to it.
    pub(crate) _scheduler: Scheduler,
    pub(crate) executors: Vec<Running>,
    pub(crate) attached: Vec<Attached>,
}

/// An executor and what it lives on.
pub(crate) struct Running {
    pub(crate) executor: Executor,
    pub(crate) registry: Registry,
    pub(crate) directory: TempDir,
}

pub(crate) fn options(schedulers: &[SocketAddr]) -> ExecutorOptions {
    ExecutorOptions {
        schedulers: schedulers.iter().map(ToString::to_string).collect(),
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        slots: 2,
        memory_limit: ByteSize::mib(256),
        exchange_memory: ByteSize::mib(64),
        heartbeat: Duration::from_millis(50),
        drain_timeout: Duration::from_secs(60),
        ..ExecutorOptions::default()
    }
}

/// Starts an executor in a directory of its own.
pub(crate) fn executor_with(mut options: ExecutorOptions) -> Running {
    let directory = tempfile::tempdir().unwrap();
    options.directory = directory.path().to_path_buf();
    let registry = Registry::new();
    let executor = Executor::start(options, &registry).unwrap();
    Running {
        executor,
        registry,
        directory,
    }
}

impl Cluster {
    pub(crate) async fn start(executors: usize) -> Self {
        Self::start_with(executors, |_| {}).await
    }

    pub(crate) async fn start_with(executors: usize, adjust: fn(&mut ExecutorOptions)) -> Self {
        let mut scheduler = Scheduler::start("scheduler-a").await;
        let mut running = Vec::new();
        let mut attached = Vec::new();
        for _ in 0..executors {
            let mut options = options(&[scheduler.address]);
            adjust(&mut options);
            running.push(executor_with(options));
            attached.push(scheduler.attached().await);
        }
        Cluster {
            tables: Tables::new().await,
            _scheduler: scheduler,
            executors: running,
            attached,
        }
    }
}

impl Running {
    /// The value of a counter or gauge; of all its labels together, or of the one given.
    pub(crate) fn metric(&self, name: &str, label: Option<&str>) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let family = family.unwrap_or_else(|| panic!("there is no metric {name}"));
        let metrics = family.get_metric().iter().filter(|metric| {
            label.is_none_or(|label| metric.get_label().iter().any(|pair| pair.value() == label))
        });
        metrics
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }

    /// Files of outputs and spills that lie on its disk.
    pub(crate) fn files(&self) -> usize {
        fn count(directory: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            entries
                .map(|entry| match entry.file_type() {
                    Ok(kind) if kind.is_dir() => count(&entry.path()),
                    _ => usize::from(entry.file_name() != "lock"),
                })
                .sum()
        }
        count(self.directory.path())
    }

    pub(crate) async fn done(&self) {
        soon("the executor stops", self.executor.done()).await;
    }
}

pub(crate) fn new_query() -> QueryId {
    QueryId(uuid::Uuid::now_v7())
}
