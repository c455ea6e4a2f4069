//! The executor as its process holds it.

use std::path::Path;
use std::sync::Arc;

use paceline_exchange::{ExchangeMetrics, OutputStore, PeerOptions, Peers, StoreOptions};
use paceline_model::{ExecutorId, SchedulerId};
use paceline_plan::{Engine, EngineOptions};
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attach::attach_to_all;
use crate::book::Book;
use crate::drain::{keep_sweeping, reached, supervise};
use crate::metrics::{Metrics, level};
use crate::node::{Identity, Means, Node, Pace, Phase};
use crate::runtimes::Runtimes;
use crate::serve::{bind, serve};
use crate::slots::Slots;
use crate::{ExecutorOptions, StartError};

/// A running executor. It has threads of its own and may live inside any other process, such as one
/// with a scheduler. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Executor {
    node: Arc<Node>,
    // Last: the node's tasks live on these threads.
    _runtimes: Runtimes,
}

/// What an executor is at, for a health check or a console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorStatus {
    /// Who it is.
    pub executor: ExecutorId,
    /// Its data plane, as others reach it.
    pub address: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// The schedulers it is attached to.
    pub schedulers: Vec<SchedulerId>,
    /// How many slots it has.
    pub slots: u32,
    /// Slots that running tasks occupy.
    pub slots_used: u32,
    /// Slots that waiting tasks need.
    pub slots_queued: u32,
    /// Queries of which it holds something.
    pub queries: usize,
    /// Attempts that wait or run.
    pub attempts: usize,
}

impl Executor {
    /// Starts an executor: takes its address and its directory, then dials the schedulers. Returns
    /// without waiting for any of them to answer.
    ///
    /// # Errors
    /// [`StartError`] naming the option, address or directory at fault.
    pub fn start(options: ExecutorOptions, registry: &Registry) -> Result<Self, StartError> {
        options.validate()?;
        let listener = bind(options.bind)?;
        let bound = listener.local_addr().map_err(|source| StartError::Bind {
            address: options.bind,
            source,
        })?;
        let address = options.advertised(bound)?;
        let runtimes = Runtimes::start(options.slots)?;
        // The store, the channels and the listener belong to the network threads.
        let _entered = runtimes.network_handle.enter();
        let means = means(&options, registry, &runtimes)?;
        let store = means.store.clone();
        let node = Arc::new(node(&options, address, registry, &runtimes, means)?);
        let listener =
            tokio::net::TcpListener::from_std(listener).map_err(|source| StartError::Bind {
                address: bound,
                source,
            })?;
        tracing::info!(
            executor = %node.identity.executor,
            address = %node.identity.address,
            slots = options.slots,
            "started"
        );
        let network = TaskTracker::new();
        network.spawn(serve(listener, store, node.stop.clone()));
        network.spawn(attach_to_all(node.clone(), options.schedulers));
        network.spawn(keep_sweeping(node.clone()));
        tokio::spawn(supervise(node.clone(), network));
        Ok(Executor {
            node,
            _runtimes: runtimes,
        })
    }

    /// Who this is; drawn anew at every start.
    pub fn id(&self) -> &ExecutorId {
        &self.node.identity.executor
    }

    /// The data plane, as others reach it.
    pub fn address(&self) -> &str {
        &self.node.identity.address
    }

    /// What it is at.
    pub fn status(&self) -> ExecutorStatus {
        let node = &self.node;
        let (schedulers, queries, attempts) = {
            let book = node.book.lock();
            (book.attached(), book.queries(), book.live_attempts())
        };
        ExecutorStatus {
            executor: node.identity.executor.clone(),
            address: node.identity.address.clone(),
            phase: node.phase(),
            schedulers,
            slots: node.slots.total(),
            slots_used: node.slots.used(),
            slots_queued: node.slots.queued(),
            queries,
            attempts,
        }
    }

    /// Begins to drain: takes nothing new, finishes what runs, serves what it holds until no query
    /// needs it or the drain timeout is over, and stops. Returns at once; see [`done`](Self::done).
    pub fn drain(&self) {
        self.node.enter(Phase::Draining);
    }

    /// Stops: running tasks are aborted, outputs dropped. Returns at once; see
    /// [`done`](Self::done).
    pub fn stop(&self) {
        self.node.enter(Phase::Stopping);
    }

    /// Waits until the executor has stopped, and nothing of it is left on disk.
    pub async fn done(&self) {
        reached(&self.node, Phase::Stopped).await;
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        for attempt in self.node.book.lock().all_tokens() {
            attempt.cancel();
        }
        self.node.stop.cancel();
        self.node.enter(Phase::Stopped);
        drop(self.node.means.lock().take());
    }
}

fn node(
    options: &ExecutorOptions,
    address: String,
    registry: &Registry,
    runtimes: &Runtimes,
    means: Means,
) -> Result<Node, StartError> {
    let metrics = Metrics::register(registry)?;
    metrics.slots.set(level(options.slots));
    Ok(Node {
        identity: Identity {
            executor: draw_id(&options.name),
            address,
            zone: options.zone.clone(),
            memory: options.memory_limit,
        },
        pace: Pace {
            heartbeat: options.heartbeat,
            drain_timeout: options.drain_timeout,
            orphan_ttl: options.orphan_ttl,
            draining_orphan_ttl: options.draining_orphan_ttl,
        },
        read_budget: options.read_budget,
        means: Mutex::new(Some(means)),
        slots: Slots::new(options.slots, options.queue_limit),
        book: Mutex::new(Book::default()),
        changed: watch::Sender::new(()),
        phase: watch::Sender::new(Phase::Serving),
        metrics,
        query_threads: runtimes.query_handle.clone(),
        attempts: TaskTracker::new(),
        stop: CancellationToken::new(),
        #[cfg(test)]
        gate: Default::default(),
    })
}

fn means(
    options: &ExecutorOptions,
    registry: &Registry,
    runtimes: &Runtimes,
) -> Result<Means, StartError> {
    let outputs = options.directory.join("exchange");
    create_directory(&outputs)?;
    let exchange_metrics = ExchangeMetrics::register(registry)?;
    let store_options = StoreOptions {
        memory_limit: options.exchange_memory,
        compression: options.compression,
        ..StoreOptions::new(outputs)
    };
    let store = OutputStore::open(store_options, exchange_metrics.clone())?;
    let engine = Engine::new(EngineOptions {
        memory_limit: Some(options.memory_limit),
        // It goes with the store, however this process ends.
        spill_directory: Some(store.scratch().to_path_buf()),
        spill_limit: options.spill_limit,
        object_store: options.object_store.clone(),
    })?;
    let network = runtimes.network_handle.clone();
    Ok(Means {
        engine,
        store,
        peers: Peers::on_runtime(PeerOptions::default(), network),
        exchange_metrics,
    })
}

fn create_directory(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path).map_err(|source| StartError::Directory {
        path: path.to_path_buf(),
        source,
    })
}

/// The name, so that people know which one it is, and enough randomness that no two lives meet.
fn draw_id(name: &str) -> ExecutorId {
    let drawn = uuid::Uuid::new_v4().simple().to_string();
    let short: String = drawn.chars().take(12).collect();
    ExecutorId::new(format!("{name}-{short}"))
}

#[cfg(test)]
mod tests;
