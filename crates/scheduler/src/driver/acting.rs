//! What the core wants, carried out: executors hear it, the journal gets it, records show it.

use std::time::Instant;

use paceline_core::{Action, Event, Outcome};
use paceline_model::{ErrorClass, Invariant, QueryError, QueryId, QueryState, StageProgress};
use paceline_plan::analyzed_rows;
use paceline_proto::state::Record;

use super::{Driver, State};
use crate::news::News;
use crate::wire::{self, LaunchOf};
use crate::written;

impl Driver {
    /// Carries out what the core wants.
    pub(super) fn perform(&self, state: &mut State, action: Action) {
        match &action {
            Action::StageFormed {
                query,
                stage,
                tasks,
                floor,
            } => {
                let formed = written::stage_formed(*query, *stage, tasks, *floor);
                self.note(state, *query, formed);
            }
            Action::StageFinished {
                query,
                stage,
                outputs,
            } => {
                self.metrics.stage_finished();
                let finished = written::stage_finished(*query, *stage, outputs);
                self.note(state, *query, finished);
            }
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
                    if record.awaits_commit() {
                        record.settle_tasks_failed(error.clone());
                        return;
                    }
                    if record.write.is_some() {
                        return;
                    }
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
            Action::AnnounceOwner { executor, .. }
            | Action::CancelAttempts { executor, .. }
            | Action::ReleaseOutputs { executor, .. } => {
                if let Some(message) = wire::command(&action) {
                    state.links.send(executor, message);
                }
            }
            Action::LeftBehind { what } => {
                self.metrics.violated(Invariant::NothingLeft, what);
            }
            Action::WakeAt(at) => {
                // A client may set a limit that no clock reaches.
                self.wake.send_replace(self.started.checked_add(at.0));
            }
        }
    }

    /// Notes a step of a query down. While the query is young the note waits with its first one.
    fn note(&self, state: &State, query: QueryId, record: Record) {
        if let Some(known) = state.shelf.get(&query) {
            let linger = known.linger_until.saturating_duration_since(Instant::now());
            self.scribe.step(query, record, linger);
        }
    }

    /// A query has come to its end, as far as the core knows.
    pub(super) fn settle(
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
            Outcome::Failed(error) if error.class == ErrorClass::Fenced => {
                // An executor obeys a later owner. Who waits here waits for that one.
                record.move_away();
                self.metrics.overtaken();
                self.newsroom.tell(News::Doubt);
                return;
            }
            Outcome::Failed(error) if record.awaits_commit() => {
                record.settle_tasks_failed(error.clone());
            }
            Outcome::Cancelled if record.awaits_commit() => {
                record.settle_tasks_failed(cancelled(query));
            }
            Outcome::Failed(error) => {
                record.settle_failed(QueryState::Failed, error.clone(), now);
            }
            Outcome::Cancelled => {
                record.settle_failed(QueryState::Cancelled, cancelled(query), now);
            }
        }
        if record.awaits_commit() {
            self.newsroom.tell(News::Ended { query });
            return;
        }
        self.metrics
            .query_ended(record.state, now.saturating_duration_since(record.accepted));
        if record.kept.is_some() {
            self.newsroom.tell(News::Ended { query });
        } else if record.state == QueryState::Finished {
            self.scribe.settled(query);
        } else {
            record.is_over = true;
            let over = written::over(record);
            self.over(query, over);
        }
        if explained {
            // What executors hold of it is not what was asked for.
            self.apply_locked(state, Event::Released { query });
        }
    }

    /// A query needs no owner any more.
    pub(super) fn over(&self, query: QueryId, record: Record) {
        self.scribe.over(query, record);
        self.newsroom.tell(News::Over { query });
    }
}

fn cancelled(query: QueryId) -> QueryError {
    let message = format!("query {query} was cancelled");
    QueryError::new(ErrorClass::Cancelled, message)
}
