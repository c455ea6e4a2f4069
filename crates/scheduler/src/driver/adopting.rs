//! Queries taken over from another owner, until executors have said what they hold of them.
//!
//! ```text
//!   adopt ──► every attached executor is told ──► each answers what it holds ──► the core goes on
//!                 (from here on the former                       │
//!                  owner is refused)          states that come meanwhile wait
//! ```
//!
//! An executor that does not answer is not waited for: what it says later is compared like any
//! inventory, and costs no more than work done twice. One that attaches only after that, and still
//! obeys the former owner, is told by the core.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use paceline_core::{AttemptState, Event, HeldQuery, KnownStage, Now, Outcome};
use paceline_model::{Epoch, ErrorClass, ExecutorId, OutputId, QueryError, QueryId, StageGraph};
use paceline_proto::cluster::from_scheduler::Message;
use paceline_proto::{Malformed, cluster, query_bytes};

use super::{Driver, State};
use crate::record::QueryRecord;
use crate::wire::{Answer, adoption};
use crate::written::Legacy;

/// How long answers are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A query between its adoption and the core.
#[derive(Debug)]
pub(super) struct Adopting {
    epoch: Epoch,
    graph: Arc<StageGraph>,
    deadline: Option<Now>,
    stages: Vec<KnownStage>,
    since: Instant,
    waiting: BTreeSet<ExecutorId>,
    held: Vec<(ExecutorId, HeldQuery)>,
    reports: Vec<(ExecutorId, OutputId, Epoch, AttemptState)>,
    cancelled: bool,
}

impl Driver {
    /// Carries on a query that is this scheduler's own at that epoch, with the graph of its plan.
    pub(crate) fn adopt(
        &self,
        query: QueryId,
        epoch: Epoch,
        graph: Arc<StageGraph>,
        mut legacy: Legacy,
    ) {
        let stages = std::mem::take(&mut legacy.stages);
        let mut state = self.state.lock();
        let deadline = self.take_in(&mut state, query, epoch, legacy);
        state.links.broadcast(&adoption(query, epoch, false));
        let adopting = Adopting {
            epoch,
            graph,
            deadline,
            stages,
            since: Instant::now(),
            waiting: state.links.open(),
            held: Vec::new(),
            reports: Vec::new(),
            cancelled: false,
        };
        state.adopting.insert(query, adopting);
        self.go_on_if_complete(&mut state, query);
    }

    /// Runs a query, of which nobody knows anything but its statement, anew.
    pub(crate) fn adopt_afresh(
        &self,
        query: QueryId,
        epoch: Epoch,
        graph: Arc<StageGraph>,
        legacy: Legacy,
    ) {
        let mut state = self.state.lock();
        let deadline = self.take_in(&mut state, query, epoch, legacy);
        // Whatever executors hold of it goes before the first launch reaches them.
        state.links.broadcast(&adoption(query, epoch, true));
        let event = Event::Submit {
            query,
            graph,
            epoch,
            deadline,
            // It was accepted before, and this is claimed.
            promised: true,
        };
        self.apply_locked(&mut state, event);
    }

    /// Ends a query that is this scheduler's own at that epoch, because nobody can carry it on. What a
    /// write of it has come to is for the log of the catalog to say: a former owner may have committed.
    pub(crate) fn end_adopted(
        &self,
        query: QueryId,
        epoch: Epoch,
        why: &Malformed,
        legacy: Legacy,
    ) {
        let mut state = self.state.lock();
        self.take_in(&mut state, query, epoch, legacy);
        let end = cluster::EndQuery {
            query: query_bytes(query),
            epoch: epoch.0,
        };
        state.links.broadcast(&Message::EndQuery(end));
        let failed = Outcome::Failed(cannot_be_carried_on(query, why));
        self.settle(&mut state, query, &failed, vec![]);
    }

    fn take_in(
        &self,
        state: &mut State,
        query: QueryId,
        epoch: Epoch,
        legacy: Legacy,
    ) -> Option<Now> {
        let now = Instant::now();
        let record = QueryRecord::adopted(query, epoch, self.me(), legacy, now);
        let age = now.saturating_duration_since(record.accepted);
        let left = record.limit.map(|limit| limit.saturating_sub(age));
        state.shelf.insert(record);
        left.map(|left| self.now_after(left))
    }

    /// An executor says what it holds of queries that were adopted.
    pub(crate) fn answered(&self, executor: &ExecutorId, answers: Vec<Answer>) {
        let mut state = self.state.lock();
        for Answer {
            mut held,
            owner,
            results,
        } in answers
        {
            let query = held.query;
            self.doubt_if_overtaken(&state, query, held.epoch);
            let record = state.shelf.get_mut(&query);
            if !record.is_some_and(|record| record.take_results(results)) {
                held.inline.clear();
            }
            match state.adopting.get_mut(&query) {
                Some(adopting) => {
                    if adopting.waiting.remove(executor) {
                        adopting.held.push((executor.clone(), held));
                    }
                    self.go_on_if_complete(&mut state, query);
                }
                None => {
                    held.ours = self.is_ours(&state, query, owner.as_ref());
                    let executor = executor.clone();
                    self.apply_locked(&mut state, Event::Held { executor, held });
                }
            }
        }
    }

    /// Keeps a state until the core knows the query. Gives it back if the core does.
    pub(super) fn keep_for_later(
        &self,
        state: &mut State,
        executor: &ExecutorId,
        id: OutputId,
        epoch: Epoch,
        reported: AttemptState,
    ) -> Option<AttemptState> {
        match state.adopting.get_mut(&id.query) {
            Some(adopting) => {
                let report = (executor.clone(), id, epoch, reported);
                adopting.reports.push(report);
                None
            }
            None => Some(reported),
        }
    }

    /// A newly attached executor is asked as well.
    pub(super) fn ask_of_adopted(&self, state: &mut State, executor: &ExecutorId) {
        let mut messages = Vec::new();
        for (query, adopting) in &mut state.adopting {
            adopting.waiting.insert(executor.clone());
            messages.push(adoption(*query, adopting.epoch, false));
        }
        for message in messages {
            state.links.send(executor, message);
        }
    }

    /// An executor will not answer.
    pub(super) fn wait_no_more_for(&self, state: &mut State, executor: &ExecutorId) {
        let waited: Vec<QueryId> = state
            .adopting
            .iter_mut()
            .filter_map(|(query, adopting)| adopting.waiting.remove(executor).then_some(*query))
            .collect();
        for query in waited {
            self.go_on_if_complete(state, query);
        }
    }

    /// Goes on without the answers that do not come.
    pub(super) fn lose_patience(&self, state: &mut State) {
        let late: Vec<QueryId> = state
            .adopting
            .iter()
            .filter(|(_, adopting)| adopting.since.elapsed() >= PATIENCE)
            .map(|(query, _)| *query)
            .collect();
        for query in late {
            tracing::warn!(%query, "adopted without the word of every executor");
            self.go_on(state, query);
        }
    }

    /// Cancels a query as soon as the core knows it. False if it is none of those.
    pub(super) fn cancel_adopting(&self, state: &mut State, query: QueryId) -> bool {
        let adopting = state.adopting.get_mut(&query);
        adopting.map(|adopting| adopting.cancelled = true).is_some()
    }

    fn go_on_if_complete(&self, state: &mut State, query: QueryId) {
        let adopting = state.adopting.get(&query);
        if adopting.is_some_and(|adopting| adopting.waiting.is_empty()) {
            self.go_on(state, query);
        }
    }

    fn go_on(&self, state: &mut State, query: QueryId) {
        let Some(adopting) = state.adopting.remove(&query) else {
            return;
        };
        let event = Event::Adopt {
            query,
            graph: adopting.graph,
            epoch: adopting.epoch,
            deadline: adopting.deadline,
            stages: adopting.stages,
            held: adopting.held,
        };
        self.apply_locked(state, event);
        for (executor, id, epoch, reported) in adopting.reports {
            let event = Event::TaskReport {
                executor,
                id,
                epoch,
                state: reported,
            };
            self.apply_locked(state, event);
        }
        if adopting.cancelled {
            self.apply_locked(state, Event::Cancel { query });
        }
    }
}

fn cannot_be_carried_on(query: QueryId, why: &Malformed) -> QueryError {
    let (field, problem) = (why.field, &why.problem);
    QueryError::new(
        ErrorClass::Bug,
        format!(
            "query {query} lost its scheduler and cannot be carried on: in what that one's journal \
             says of it, {field} {problem}"
        ),
    )
}
