//! The core under its lock, with what its actions need.

use std::sync::Arc;
use std::time::{Duration, Instant};

use paceline_core::{Action, AttemptState, Core, Event, Now, Outcome};
use paceline_model::{
    ByteSize, Epoch, ErrorClass, ExecutorId, QueryError, QueryId, QueryState, QueryStatus,
    SchedulerId, StageProgress,
};
use paceline_plan::analyzed_rows;
use paceline_proto::cluster;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::links::{Link, LinkId, Links};
use crate::metrics::SchedulerMetrics;
use crate::record::QueryRecord;
use crate::shelf::{Due, Keep, Shelf};
use crate::wire::{self, LaunchOf, Report};

/// Drives all queries of this scheduler. Shared by everything that has something to say.
///
/// The lock is never held across an await; everything done under it is quick.
#[derive(Debug)]
pub(crate) struct Driver {
    state: Mutex<State>,
    started: Instant,
    /// When the core wants to hear of time.
    wake: watch::Sender<Option<Instant>>,
    pub(crate) me: SchedulerId,
    pub(crate) metrics: SchedulerMetrics,
}

struct State {
    core: Core,
    links: Links,
    shelf: Shelf,
    inline_limit: u64,
    next_link: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

impl Driver {
    pub(crate) fn new(
        me: SchedulerId,
        core: Core,
        keep: Keep,
        inline_limit: ByteSize,
        metrics: SchedulerMetrics,
    ) -> Self {
        Driver {
            state: Mutex::new(State {
                core,
                links: Links::default(),
                shelf: Shelf::new(keep),
                inline_limit: inline_limit.0,
                next_link: 0,
            }),
            started: Instant::now(),
            wake: watch::Sender::new(None),
            me,
            metrics,
        }
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The core's clock, a given while from now.
    pub(crate) fn now_after(&self, delay: Duration) -> Now {
        Now(self.started.elapsed()).after(delay)
    }

    /// Tells the core of an event and does what it wants.
    pub(crate) fn apply(&self, event: Event) {
        let mut state = self.state.lock();
        self.apply_locked(&mut state, event);
    }

    fn apply_locked(&self, state: &mut State, event: Event) {
        let actions = state.core.handle(event, Now(self.started.elapsed()));
        for action in actions {
            self.perform(state, action);
        }
        self.metrics.observe(&state.core, state.links.len());
    }

    fn perform(&self, state: &mut State, action: Action) {
        match &action {
            Action::StageFormed { .. } | Action::StageFinished { .. } => {}
            Action::Settled {
                query,
                outcome,
                stages,
            } => self.settle(state, *query, outcome, stages.clone()),
            Action::ResultChanged {
                query,
                result,
                restart,
            } => {
                if let Some(record) = state.shelf.get_mut(query) {
                    record.settle_result(result, *restart, Instant::now());
                }
            }
            Action::ResultGone { query, error } => {
                if let Some(record) = state.shelf.get_mut(query) {
                    let ended = record.state;
                    record.settle_failed(ended, error.clone(), Instant::now());
                }
            }
            Action::Launch {
                executor,
                query,
                epoch,
                stage,
                tasks,
                inputs,
            } => {
                let with_plan = state.links.needs_plan(executor, *query, *stage);
                let record = state.shelf.get(query);
                let Some(plan) = record.and_then(|record| record.plan.as_ref()) else {
                    return;
                };
                let Some(of) = plan.graph.stage(*stage) else {
                    return;
                };
                let is_root = of.id == plan.graph.root().id;
                let launch = LaunchOf {
                    query: *query,
                    epoch: *epoch,
                    stage: of,
                    with_plan,
                    inline_limit: if is_root { state.inline_limit } else { 0 },
                    settings: &plan.settings.0,
                };
                let message = wire::launch(&launch, tasks, inputs);
                state.links.send(executor, message);
            }
            Action::EndQuery {
                executor, query, ..
            } => {
                state.links.forget_query(executor, *query);
                if let Some(message) = wire::command(&action) {
                    state.links.send(executor, message);
                }
            }
            Action::CancelAttempts { executor, .. } | Action::ReleaseOutputs { executor, .. } => {
                if let Some(message) = wire::command(&action) {
                    state.links.send(executor, message);
                }
            }
            Action::WakeAt(at) => {
                self.wake.send_replace(Some(self.started + at.0));
            }
        }
    }

    fn settle(
        &self,
        state: &mut State,
        query: QueryId,
        outcome: &Outcome,
        stages: Vec<StageProgress>,
    ) {
        let now = Instant::now();
        let Some(record) = state.shelf.get_mut(&query) else {
            return;
        };
        record.stages = stages;
        let mut explained = false;
        match outcome {
            Outcome::Finished { result } => match &record.plan {
                Some(plan) if plan.analyze => {
                    let operators = record.operators.by_stage(plan.graph.len());
                    let rows = analyzed_rows(&plan.graph, &record.stages, &operators);
                    record.settle_rows(vec![rows], now);
                    explained = true;
                }
                _ => record.settle_result(result, false, now),
            },
            Outcome::Failed(error) => {
                record.settle_failed(QueryState::Failed, error.clone(), now);
            }
            Outcome::Cancelled => {
                let error = QueryError::new(
                    ErrorClass::Cancelled,
                    format!("query {query} was cancelled"),
                );
                record.settle_failed(QueryState::Cancelled, error, now);
            }
        }
        self.metrics
            .query_ended(record.state, now.saturating_duration_since(record.accepted));
        if explained {
            // What executors hold of it is not what was asked for.
            self.apply_locked(state, Event::Released { query });
        }
    }

    /// Starts a query. Its record is there before anything of it can happen.
    pub(crate) fn submit(&self, record: QueryRecord, deadline: Option<Now>) {
        let mut state = self.state.lock();
        let query = record.query;
        let graph = record.plan.as_ref().map(|plan| Arc::clone(&plan.graph));
        state.shelf.insert(record);
        if let Some(graph) = graph {
            let event = Event::Submit {
                query,
                graph,
                epoch: Epoch::default(),
                deadline,
            };
            self.apply_locked(&mut state, event);
        }
    }

    /// Looks at a query's record.
    pub(crate) fn with_record<T>(
        &self,
        query: &QueryId,
        look: impl FnOnce(&mut QueryRecord) -> T,
    ) -> Option<T> {
        self.state.lock().shelf.get_mut(query).map(look)
    }

    /// The status of a query that is or was driven here.
    pub(crate) fn status(&self, query: &QueryId) -> Option<QueryStatus> {
        let state = self.state.lock();
        match state.shelf.get(query) {
            Some(record) => {
                Some(record.status(&self.me, state.core.status(*query), Instant::now()))
            }
            None => state.shelf.past(query).cloned(),
        }
    }

    /// The status of every query that is or was driven here, in the order of their ids.
    pub(crate) fn statuses(&self) -> Vec<QueryStatus> {
        let state = self.state.lock();
        let now = Instant::now();
        let present = state
            .shelf
            .iter()
            .map(|record| record.status(&self.me, state.core.status(record.query), now));
        let mut all: Vec<_> = state.shelf.all_past().cloned().chain(present).collect();
        all.sort_by_key(|status| status.query);
        all
    }

    /// Cancels a query; false if there is none of that id that could be.
    pub(crate) fn cancel(&self, query: QueryId) -> bool {
        let mut state = self.state.lock();
        let Some(record) = state.shelf.get(&query) else {
            return false;
        };
        if !record.state.is_final() {
            self.apply_locked(&mut state, Event::Cancel { query });
        }
        true
    }

    /// How many queries run, and how many wait for their turn.
    pub(crate) fn running_and_queued(&self) -> (usize, usize) {
        self.state.lock().core.running_and_queued()
    }

    /// Whether queries run or wait, or somebody reads a result.
    pub(crate) fn busy(&self) -> bool {
        let state = self.state.lock();
        let mut records = state.shelf.iter();
        records.any(|record| !record.state.is_final() || record.readers > 0)
    }

    /// The slots of every executor that takes tasks.
    pub(crate) fn slots(&self) -> Vec<u32> {
        let state = self.state.lock();
        let executors = state.core.executors();
        executors
            .iter()
            .filter(|executor| !executor.draining)
            .map(|executor| executor.slots)
            .collect()
    }

    /// Every executor, for status pages.
    pub(crate) fn executors(&self) -> Vec<paceline_frontend::ExecutorStatus> {
        let state = self.state.lock();
        let known = state.core.executors();
        known
            .into_iter()
            .map(|executor| {
                let link = state.links.get(&executor.executor);
                paceline_frontend::ExecutorStatus {
                    version: link.map(|l| l.version.clone()).unwrap_or_default(),
                    slots_used: link.map_or(0, |l| l.load.slots_used),
                    memory_bytes: link.map_or(0, |l| l.memory_bytes),
                    memory_used_bytes: link.map_or(0, |l| l.load.memory_used_bytes),
                    id: executor.executor,
                    address: executor.address,
                    zone: executor.zone,
                    slots: executor.slots,
                    draining: executor.draining,
                }
            })
            .collect()
    }

    /// An executor attached with all it holds.
    pub(crate) fn attached(
        &self,
        hello: cluster::Hello,
        held: Vec<paceline_core::HeldQuery>,
        outgoing: tokio::sync::mpsc::Sender<cluster::FromScheduler>,
    ) -> LinkId {
        let mut state = self.state.lock();
        state.next_link += 1;
        let id = LinkId(state.next_link);
        let executor = ExecutorId::new(hello.executor.as_str());
        let link = Link::new(id, outgoing, &hello, Instant::now());
        state.links.insert(executor.clone(), link);
        let event = Event::ExecutorAttached {
            executor,
            address: hello.address,
            zone: hello.zone,
            slots: hello.slots.max(1),
            draining: false,
            held,
        };
        self.apply_locked(&mut state, event);
        id
    }

    /// An executor said something; false if another stream of it has taken this one's place.
    pub(crate) fn heard(
        &self,
        executor: &ExecutorId,
        id: LinkId,
        load: Option<cluster::Load>,
    ) -> bool {
        let mut state = self.state.lock();
        let Some(link) = state.links.get_mut(executor).filter(|link| link.id == id) else {
            return false;
        };
        link.heard = Instant::now();
        let Some(load) = load else { return true };
        let drains = load.draining && !link.load.draining;
        link.load = load;
        if drains {
            let executor = executor.clone();
            self.apply_locked(&mut state, Event::ExecutorDraining { executor });
        }
        let event = Event::Load {
            executor: executor.clone(),
            slots_used: load.slots_used,
            slots_queued: load.slots_queued,
        };
        self.apply_locked(&mut state, event);
        true
    }

    /// An executor reported the state of an attempt.
    pub(crate) fn reported(
        &self,
        executor: &ExecutorId,
        id: paceline_model::OutputId,
        epoch: Epoch,
        report: Report,
    ) {
        let mut state = self.state.lock();
        self.metrics.reported(&report);
        if let AttemptState::Failed(_) = &report.state {
            // One reason to fail is that it did not have the plan; it is sent again.
            state.links.forget_plan(executor, id.query, id.stage);
        }
        if let Some(record) = state.shelf.get_mut(&id.query) {
            if let Some(bytes) = report.inline_result {
                record.keep_inline(id.task, id.attempt, bytes);
            }
            if record.plan.as_ref().is_some_and(|plan| plan.analyze) {
                record.operators.record(id.stage, id.task, report.operators);
            }
        }
        let event = Event::TaskReport {
            executor: executor.clone(),
            id,
            epoch,
            state: report.state,
        };
        self.apply_locked(&mut state, event);
    }

    /// Acknowledges states to the executor that reported them.
    pub(crate) fn acknowledge(&self, executor: &ExecutorId, numbers: Vec<u64>) {
        let message =
            cluster::from_scheduler::Message::Acknowledge(cluster::Acknowledge { numbers });
        self.state.lock().links.send(executor, message);
    }

    /// A stream broke. The executor's address, if no other stream has taken its place.
    pub(crate) fn stream_broke(&self, executor: &ExecutorId, id: LinkId) -> Option<String> {
        let mut state = self.state.lock();
        let link = state.links.get_mut(executor).filter(|link| link.id == id)?;
        link.broken = true;
        Some(link.address.clone())
    }

    /// Holds an executor for lost, unless it has attached again since.
    pub(crate) fn lost(&self, executor: &ExecutorId, id: LinkId, reason: String) {
        let mut state = self.state.lock();
        let current = state.links.get(executor).is_some_and(|link| link.id == id);
        if current {
            tracing::warn!(%executor, reason, "executor lost");
            state.links.remove(executor);
            let executor = executor.clone();
            self.apply_locked(&mut state, Event::ExecutorLost { executor, reason });
        }
    }

    /// Executors that have been silent for too long.
    pub(crate) fn silent(&self, timeout: Duration) -> Vec<(ExecutorId, LinkId)> {
        let state = self.state.lock();
        state
            .links
            .iter()
            .filter(|(_, link)| !link.broken && link.heard.elapsed() > timeout)
            .map(|(executor, link)| (executor.clone(), link.id))
            .collect()
    }

    /// Tells every executor who the schedulers are.
    pub(crate) fn broadcast(&self, message: &cluster::from_scheduler::Message) {
        self.state.lock().links.broadcast(message);
    }

    /// Drops what has been kept long enough, and cancels what nobody waits for.
    pub(crate) fn tidy(&self) {
        let mut state = self.state.lock();
        for due in state.shelf.due(Instant::now()) {
            match due {
                Due::Abandon(query) => {
                    tracing::info!(%query, "cancelled: nobody waits for it");
                    self.apply_locked(&mut state, Event::Cancel { query });
                }
                Due::Release(query) => self.release(&mut state, query),
            }
        }
    }

    fn release(&self, state: &mut State, query: QueryId) {
        let Some(record) = state.shelf.get(&query) else {
            return;
        };
        let last = record.status(&self.me, None, Instant::now());
        state.shelf.retire(&query, last);
        self.apply_locked(state, Event::Released { query });
    }

    /// Sends the core its ticks, for as long as it is polled.
    pub(crate) async fn keep_time(&self) {
        let mut wake = self.wake.subscribe();
        loop {
            let at = *wake.borrow_and_update();
            // Cancel safety: both branches hold nothing; a change that is missed here is seen by
            // the borrow above.
            tokio::select! {
                changed = wake.changed() => if changed.is_err() { return },
                () = sleep_until(at) => {
                    self.wake.send_if_modified(|due| {
                        let fired = *due == at;
                        if fired { *due = None; }
                        fired
                    });
                    self.apply(Event::Tick);
                }
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
