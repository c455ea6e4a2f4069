//! Drives all queries of one scheduler: one event in, the actions it calls for out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use paceline_model::{Epoch, QueryError, QueryId, QueryState, StageGraph, StageProgress};

use crate::action::{Action, Outcome};
use crate::admission::Admitted;
use crate::counters::Counters;
use crate::dispatch::Turn;
use crate::event::Event;
use crate::executors::ExecutorStatus;
use crate::options::Options;
use crate::query::{Phase, Query, TaskAt};
use crate::shared::Shared;
use crate::time::Now;
use crate::timers::Alarm;

/// The queries of one scheduler and the executors attached to it.
#[derive(Debug, Default)]
pub struct Core {
    pub(crate) shared: Shared,
    pub(crate) queries: BTreeMap<QueryId, Query>,
    /// Queries with something to launch, in the order in which they get their turn.
    pub(crate) turns: BTreeSet<Turn>,
    /// The key in `turns` of each query that is there.
    pub(crate) ranked: BTreeMap<QueryId, Turn>,
    submissions: u64,
    /// Queries that ended a while ago at most, so that executors which were away can be told.
    pub(crate) ended: BTreeMap<QueryId, Epoch>,
    ended_order: VecDeque<QueryId>,
}

impl Core {
    /// Nothing to do yet, and nobody to do it.
    pub fn new(options: Options) -> Self {
        Core {
            shared: Shared {
                options,
                ..Shared::default()
            },
            ..Core::default()
        }
    }

    /// Takes note of an event and says what is to be done.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Action> {
        let was_idle = self.is_idle();
        self.shared.now = self.shared.now.max(now);
        let now = self.shared.now;
        self.shared.timers.woken(now);
        while let Some(alarm) = self.shared.timers.pop(now) {
            self.ring(alarm);
        }
        self.apply(event);
        self.admit();
        self.dispatch();
        if !was_idle {
            self.tell_left_behind();
        }
        if let Some(at) = self.shared.timers.wake() {
            self.shared.out.wake_at(at);
        }
        let actions = self.shared.out.take();
        #[cfg(debug_assertions)]
        {
            let violations = self.violations();
            debug_assert!(violations.is_empty(), "{violations:#?}");
        }
        actions
    }

    fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Deadline(query) => {
                self.with(query, |query, shared| query.deadline_passed(shared))
            }
            Alarm::Starved(query) => self.with(query, |query, shared| query.starved(shared)),
            Alarm::Backoff(query, stage, task) => self.with(query, |query, shared| {
                query.backoff_over(TaskAt { stage, task }, shared);
            }),
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Submit {
                query,
                graph,
                epoch,
                deadline,
                promised,
            } => self.submit((query, promised), graph, epoch, deadline),
            adopt @ Event::Adopt { .. } => self.adopt(adopt),
            Event::ExecutorAttached {
                executor,
                address,
                zone,
                slots,
                draining,
                held,
            } => self.attached(executor, address, zone, (slots, draining), held),
            Event::Held { executor, held } => {
                if self.shared.executors.is_attached(&executor) {
                    self.reconcile(&executor, &held);
                }
            }
            Event::ExecutorLost { executor, reason } => self.lost(&executor, &reason),
            Event::ExecutorDraining { executor } => self.shared.executors.drain(&executor),
            Event::Load {
                executor,
                slots_used,
                slots_queued,
            } => {
                let load = slots_used.saturating_add(slots_queued);
                self.shared.executors.report_load(&executor, load);
            }
            Event::TaskReport {
                executor,
                id,
                epoch,
                state,
            } => self.report(&executor, id, epoch, state),
            Event::ResultLost { query, lost } => {
                self.with(query, |query, shared| query.result_lost(&lost, shared));
            }
            Event::Cancel { query } => self.with(query, |query, shared| query.cancel(shared)),
            Event::Released { query } => self.with(query, |query, _| query.release()),
            Event::Tick => {}
        }
    }

    /// Does something to a query, if it is known, and keeps the lists that it is on.
    pub(crate) fn with(&mut self, id: QueryId, change: impl FnOnce(&mut Query, &mut Shared)) {
        let Some(query) = self.queries.get_mut(&id) else {
            return;
        };
        change(query, &mut self.shared);
        if query.phase == Phase::Ended {
            self.bury(id);
        } else {
            self.rank(id);
        }
    }

    fn bury(&mut self, id: QueryId) {
        let Some(mut query) = self.queries.remove(&id) else {
            return;
        };
        self.rank(id);
        query.bury(&mut self.shared);
        self.ended.insert(id, query.epoch);
        self.ended_order.push_back(id);
        while self.ended_order.len() > self.shared.options.remembered_queries {
            if let Some(oldest) = self.ended_order.pop_front() {
                self.ended.remove(&oldest);
            }
        }
    }

    fn submit(
        &mut self,
        (id, promised): (QueryId, bool),
        graph: Arc<StageGraph>,
        epoch: Epoch,
        deadline: Option<Now>,
    ) {
        if self.queries.contains_key(&id) || self.ended.contains_key(&id) {
            return;
        }
        self.submissions += 1;
        let turn = self.submissions;
        let shared = &mut self.shared;
        let admitted = shared.admission.enter(&shared.options, turn, id, promised);
        if let Admitted::Refused(error) = admitted {
            shared.counters.queries_refused += 1;
            shared.out.tell(Action::Settled {
                query: id,
                outcome: Outcome::Failed(error),
                stages: Vec::new(),
            });
            return;
        }
        let mut query = Query::new(id, graph, epoch, turn, deadline, shared);
        query.planned_afresh();
        self.queries.insert(id, query);
        if admitted == Admitted::Starts {
            self.with(id, |query, _| query.start());
        }
    }

    fn adopt(&mut self, event: Event) {
        let Event::Adopt {
            query: id,
            graph,
            epoch,
            deadline,
            stages,
            held,
        } = event
        else {
            return;
        };
        if self.queries.contains_key(&id) {
            return;
        }
        self.submissions += 1;
        let shared = &mut self.shared;
        shared.admission.enter_at_once();
        shared.counters.queries_adopted += 1;
        let query = Query::new(id, graph, epoch, self.submissions, deadline, shared);
        self.queries.insert(id, query);
        self.with(id, |query, shared| query.adopt(stages, &held, shared));
    }

    /// Lets waiting queries start as far as there are places.
    fn admit(&mut self) {
        while let Some(id) = self.shared.admission.next(&self.shared.options) {
            self.with(id, |query, _| query.start());
        }
    }

    /// Whether there is a place for one more query, beside so many that were promised one and have not
    /// been submitted yet. To be asked before a client is told that its query is accepted.
    ///
    /// # Errors
    /// That there is none, which counts as a query that was refused.
    pub fn has_room(&mut self, promised: usize) -> Result<(), QueryError> {
        let shared = &mut self.shared;
        let room = shared.admission.has_room(&shared.options, promised);
        if room.is_err() {
            shared.counters.queries_refused += 1;
        }
        room
    }

    /// This scheduler owns nothing any more: every query and every executor is forgotten, and nobody is
    /// told, because nobody would listen. Counters go on.
    pub fn fence(&mut self) {
        let shared = std::mem::take(&mut self.shared);
        *self = Core {
            shared: Shared {
                options: shared.options,
                counters: shared.counters,
                now: shared.now,
                ..Shared::default()
            },
            ..Core::default()
        };
    }

    /// Whether a query ended here lately. A further submission of it would be passed over.
    pub fn has_ended(&self, query: QueryId) -> bool {
        self.ended.contains_key(&query)
    }

    /// Where a query is in its life and how far each of its stages has come. None for a query that
    /// was never here, or has ended.
    pub fn status(&self, query: QueryId) -> Option<(QueryState, Vec<StageProgress>)> {
        let query = self.queries.get(&query)?;
        Some((query.state(), query.progress()))
    }

    /// Whether there is no query that has not ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.queries.is_empty()
    }

    /// All queries that have not ended: those that wait, run, or have a result.
    pub fn queries(&self) -> Vec<(QueryId, QueryState)> {
        let queries = self.queries.iter();
        queries.map(|(&id, query)| (id, query.state())).collect()
    }

    /// All attached executors.
    pub fn executors(&self) -> Vec<ExecutorStatus> {
        self.shared.executors.status()
    }

    /// How many queries run and how many wait for their turn.
    pub fn running_and_queued(&self) -> (usize, usize) {
        let admission = &self.shared.admission;
        (admission.running(), admission.waiting())
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.shared.counters
    }
}
