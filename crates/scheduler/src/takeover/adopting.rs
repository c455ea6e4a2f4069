//! What becomes of the queries that sealed journals hold, and of those that no journal holds.

use std::sync::Arc;
use std::time::Instant;

use paceline_core::ownership::{Entry, Hold, OwnershipAction, OwnershipEvent, Step};
use paceline_model::{Epoch, Invariant, QueryId};
use paceline_proto::state::{Known, Record};

use super::Takeover;
use crate::news::News;
use crate::steps::{self, Stepped};
use crate::written;

/// A query on its way to being this scheduler's own.
#[derive(Debug)]
pub(super) struct Coming {
    known: Known,
    afresh: bool,
    /// Since when its former owner was suspect.
    since: Instant,
    /// Since when it has been on its way.
    decided: Instant,
}

impl Takeover {
    pub(super) fn tell_ownership(&mut self, event: OwnershipEvent) {
        for action in self.ownership.handle(event, self.now()) {
            match action {
                OwnershipAction::Take(step) => self.take(step),
                OwnershipAction::Own { query, epoch } => self.own(query, epoch),
                OwnershipAction::Lost { query, epoch, to } => {
                    tracing::info!(%query, %epoch, %to, "another scheduler adopted the query");
                    self.coming.remove(&(query, epoch));
                    self.journaling.passing.end(query, epoch);
                    let driver = &self.shared.driver;
                    driver.scribe.forget(&driver.me(), query, epoch);
                    driver.newsroom.change_of(query);
                }
                OwnershipAction::Conflict { query, epoch, by } => {
                    let seen = format!(
                        "the claim on query {query} at epoch {epoch} named {} and then {}",
                        by[0], by[1]
                    );
                    let metrics = &self.shared.driver.metrics;
                    metrics.violated(Invariant::OneOwner, &seen);
                }
                OwnershipAction::WakeAt(at) => {
                    let at = self.started.checked_add(at.0);
                    self.wake = self.wake.into_iter().chain(at).min();
                }
            }
        }
    }

    pub(super) fn take(&mut self, step: Step) {
        let mut record = None;
        if let Step::Adopt { from, query, epoch } = &step {
            let book = self.sealed.get(from);
            let Some(held) = book.and_then(|book| book.held(*query)) else {
                let seen =
                    format!("query {query} is to be adopted, and '{from}' says nothing of it");
                let metrics = &self.shared.driver.metrics;
                metrics.violated(Invariant::NothingLost, &seen);
                return;
            };
            record = Some(written::adopted(*query, *epoch, held.known.clone()));
            let coming = Coming {
                known: held.known.clone(),
                afresh: false,
                since: *self.suspect.get(from).unwrap_or(&Instant::now()),
                decided: Instant::now(),
            };
            self.coming.insert((*query, *epoch), coming);
            self.journaling.passing.begin(*query, *epoch);
        }
        self.spawn_step(step, record);
    }

    fn spawn_step(&self, step: Step, record: Option<Record>) {
        let shared = Arc::clone(&self.shared);
        let journaling = self.journaling.clone();
        let me = shared.driver.me();
        self.shared.spawn_until_stopped(async move {
            let stepped = steps::take(&shared, &journaling, &me, &step, record).await;
            let news = News::Stepped(me, step, stepped);
            shared.driver.newsroom.tell(news);
        });
    }

    pub(super) fn stepped(&mut self, step: Step, stepped: Stepped) {
        let event = match (step, stepped) {
            (Step::Adopt { from, query, epoch }, Stepped::Failed)
                if from == self.shared.driver.me() =>
            {
                // Nobody but the client that asks takes this step again.
                self.coming.remove(&(query, epoch));
                self.journaling.passing.end(query, epoch);
                self.shared.driver.newsroom.change_of(query);
                return;
            }
            (step, Stepped::Failed) => OwnershipEvent::Failed { step },
            (Step::Adopt { query, epoch, .. }, Stepped::Done) => OwnershipEvent::Recorded {
                entry: Entry::Owned {
                    query,
                    hold: Hold::at(epoch),
                },
            },
            (
                Step::ReadClaim { query, epoch } | Step::Claim { query, epoch },
                Stepped::Claimed(by),
            ) => OwnershipEvent::Claim { query, epoch, by },
            (Step::Submit { query, .. }, Stepped::Claimed(by)) => {
                let epoch = Epoch(0);
                OwnershipEvent::Claim { query, epoch, by }
            }
            (Step::Drain { journal }, Stepped::Done) => {
                tracing::info!(%journal, "every query of the journal has another owner or has ended");
                self.sealed.remove(&journal);
                self.journaling.passing.drained(&journal);
                self.suspect.remove(&journal);
                self.shared.driver.newsroom.change();
                OwnershipEvent::Drained { journal }
            }
            (step, _) => OwnershipEvent::Failed { step },
        };
        self.tell_ownership(event);
    }

    /// The query is this scheduler's own.
    pub(super) fn own(&mut self, query: QueryId, epoch: Epoch) {
        let Some(coming) = self.coming.remove(&(query, epoch)) else {
            // Of one that leaves, others adopt what it was about to.
            if !self.shared.is_draining() {
                let seen = format!("query {query} was adopted at epoch {epoch} with nothing known");
                let metrics = &self.shared.driver.metrics;
                metrics.violated(Invariant::NothingLost, &seen);
            }
            return;
        };
        let legacy = written::legacy(coming.known);
        let driver = &self.shared.driver;
        driver.metrics.adopted(coming.decided.elapsed());
        let plan = legacy.plan.as_ref();
        let graph = plan.map(|plan| Arc::clone(&plan.graph));
        match graph.map_err(Clone::clone) {
            Ok(graph) => {
                tracing::info!(%query, %epoch, afresh = coming.afresh, "adopted");
                if coming.afresh {
                    driver.adopt_afresh(query, epoch, graph, legacy);
                } else {
                    driver.adopt(query, epoch, graph, legacy);
                    driver.metrics.taken_over(coming.since.elapsed());
                }
            }
            Err(why) => {
                tracing::error!(%query, %epoch, %why, "adopted, and cannot be carried on");
                driver.end_adopted(query, epoch, &why, legacy);
            }
        }
        self.journaling.passing.end(query, epoch);
        driver.newsroom.change_of(query);
    }

    pub(super) fn afresh(&mut self, query: QueryId, epoch: Epoch, known: Known) {
        let coming = self.coming.contains_key(&(query, epoch));
        if coming || self.ownership.own().epoch(query).is_some() {
            return;
        }
        let record = written::adopted(query, epoch, known.clone());
        let coming = Coming {
            known,
            afresh: true,
            since: Instant::now(),
            decided: Instant::now(),
        };
        self.coming.insert((query, epoch), coming);
        self.journaling.passing.begin(query, epoch);
        // The step of an adoption, but from no journal.
        let step = Step::Adopt {
            from: self.shared.driver.me(),
            query,
            epoch,
        };
        self.spawn_step(step, Some(record));
    }
}
