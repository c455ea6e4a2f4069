//! What all parts of one executor share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use paceline_exchange::{ExchangeMetrics, OutputStore, Peers};
use paceline_model::{ByteSize, ExecutorId, OutputId, QueryError, QueryId};
use paceline_plan::Engine;
use paceline_proto::cluster::task_state::State;
use paceline_proto::{cluster, error_to_failed};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::book::{Book, Completion, LinkId};
use crate::metrics::{Metrics, level};
use crate::slots::Slots;

/// Outputs in memory of which freeing all takes longer than others on the thread should wait.
const MUCH_MEMORY: u64 = 64 << 20;

/// Where an executor is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Takes launches.
    Serving,
    /// Takes no launches; finishes tasks and keeps serving outputs.
    Draining,
    /// Everything is being ended.
    Stopping,
    /// Nothing is left, on disk neither.
    Stopped,
}

/// Who this executor is, as it says in `Hello`.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) executor: ExecutorId,
    /// `host:port` of the data plane, as others reach it.
    pub(crate) address: String,
    pub(crate) zone: String,
    pub(crate) memory: ByteSize,
}

/// How long things take at most.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    pub(crate) heartbeat: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) orphan_ttl: Duration,
    pub(crate) draining_orphan_ttl: Duration,
}

/// What tasks work with. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Means {
    pub(crate) engine: Engine,
    /// After the engine, whose operators spill into a directory of it.
    pub(crate) store: OutputStore,
    pub(crate) peers: Peers,
    pub(crate) exchange_metrics: ExchangeMetrics,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) pace: Pace,
    pub(crate) read_budget: ByteSize,
    /// None once the executor has stopped: what they keep on disk goes with them.
    pub(crate) means: Mutex<Option<Means>>,
    pub(crate) slots: Arc<Slots>,
    /// Held for short moments only, never across an await.
    pub(crate) book: Mutex<Book>,
    /// Sent whenever the book changed in a way that somebody may wait for.
    pub(crate) changed: watch::Sender<()>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) metrics: Metrics,
    /// Where attempts run.
    pub(crate) query_threads: Handle,
    pub(crate) attempts: TaskTracker,
    /// Ends everything on the network threads.
    pub(crate) stop: CancellationToken,
    /// Before whatever is freed.
    #[cfg(test)]
    pub(crate) gate: testing::Gate,
}

impl Node {
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Moves on to a later phase; never back.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let later = phase > *current;
            if later {
                *current = phase;
            }
            later
        });
        if phase >= Phase::Draining {
            self.metrics.draining.set(1);
        }
        self.book.lock().wake_all();
    }

    pub(crate) fn means(&self) -> Option<Means> {
        self.means.lock().clone()
    }

    pub(crate) fn notify_changed(&self) {
        self.changed.send_replace(());
    }

    /// What this executor is busy with.
    pub(crate) fn load(&self) -> cluster::Load {
        let means = self.means();
        let usage = means.as_ref().map(|means| means.store.usage());
        let usage = usage.unwrap_or_default();
        let memory = means.map(|means| means.engine.memory_used());
        let load = cluster::Load {
            slots_used: self.slots.used(),
            slots_queued: self.slots.queued(),
            memory_used_bytes: memory.unwrap_or_default().0,
            exchange_memory_bytes: usage.memory_bytes,
            exchange_disk_bytes: usage.disk_bytes,
            draining: self.phase() >= Phase::Draining,
        };
        self.metrics.slots_used.set(level(load.slots_used));
        self.metrics.slots_queued.set(level(load.slots_queued));
        self.metrics.memory_used.set(level(load.memory_used_bytes));
        load
    }

    /// Brings the gauges of the book up to date.
    pub(crate) fn observe_book(&self) {
        let book = self.book.lock();
        self.metrics.attached.set(level(book.attached().len()));
        self.metrics.queries.set(level(book.queries()));
        self.metrics
            .unacknowledged
            .set(level(book.unacknowledged()));
    }

    /// Tells the owner that an attempt which never began has failed.
    pub(crate) fn tell_failed(&self, id: OutputId, error: &QueryError) {
        let state = State::Failed(error_to_failed(error));
        self.book.lock().tell(id, state);
    }

    /// Tells the other end of a link the same, owner or not.
    pub(crate) fn answer_failed(&self, link: LinkId, id: OutputId, error: &QueryError) {
        let state = State::Failed(error_to_failed(error));
        self.book.lock().answer(link, id, state);
    }

    /// Books the end of an attempt; an output that nobody wants any more goes at once.
    pub(crate) fn conclude(&self, completion: Completion) {
        let id = completion.id;
        let held = completion.holds_output;
        let wanted = {
            let mut book = self.book.lock();
            let wanted = book.complete(completion);
            book.wake_all();
            wanted
        };
        if held && !wanted {
            self.release(id.query, &[id]);
        }
        self.notify_changed();
    }

    /// Frees outputs of a query that the book has forgotten.
    pub(crate) fn release(&self, query: QueryId, outputs: &[OutputId]) {
        self.free(query, |store| {
            outputs.iter().for_each(|id| store.release(id))
        });
    }

    /// Removing large files and giving much memory back takes a while; others on this thread must not wait
    /// for it. Most queries leave nothing, and have nobody else take this thread's work over.
    #[expect(
        clippy::disallowed_methods,
        reason = "the network threads are few and go on with other work; a command is answered only \
                  when what it drops is gone"
    )]
    fn free(&self, query: QueryId, free: impl FnOnce(&OutputStore)) {
        let Some(means) = self.means().filter(|means| means.store.holds(query)) else {
            return;
        };
        let free = || {
            #[cfg(test)]
            self.gate.pass();
            free(&means.store);
        };
        let usage = means.store.usage();
        if usage.disk_bytes > 0 || usage.memory_bytes > MUCH_MEMORY {
            tokio::task::block_in_place(free);
        } else {
            free();
        }
    }

    /// Drops what orphaned queries left.
    pub(crate) fn sweep(&self, now: Instant) {
        let ttl = match self.phase() {
            Phase::Serving => self.pace.orphan_ttl,
            _ => self.pace.orphan_ttl.min(self.pace.draining_orphan_ttl),
        };
        let orphans = self.book.lock().sweep(now, ttl);
        for (query, live) in orphans {
            tracing::warn!(
                query_id = %query,
                attempts = live.len(),
                "nobody has owned the query for {ttl:?}; what it left is dropped"
            );
            self.metrics.orphans.inc();
            self.drop_query(query, &live);
        }
        self.observe_book();
    }

    /// Frees what a query holds here, once the book has forgotten it.
    pub(crate) fn drop_query(&self, query: QueryId, live: &[CancellationToken]) {
        for attempt in live {
            attempt.cancel();
        }
        self.free(query, |store| store.release_query(query));
        self.notify_changed();
    }
}

#[cfg(test)]
mod testing;
