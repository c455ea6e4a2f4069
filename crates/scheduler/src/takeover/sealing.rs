//! Ending the journals of schedulers that are gone.

use std::sync::Arc;

use paceline_core::ownership::{Evidence, OwnershipEvent};
use paceline_model::SchedulerId;
use paceline_store::Replayed;

use super::Takeover;
use crate::news::News;
use crate::steps;

impl Takeover {
    /// Journals that nobody alive writes any more are as good as sealed.
    pub(super) fn look_for_journals(&self) {
        let shared = Arc::clone(&self.shared);
        let journals = self.journaling.journals.clone();
        self.shared.spawn_until_stopped(async move {
            for journal in steps::ownerless(&shared, &journals).await {
                shared.driver.newsroom.tell(News::Seal(journal));
            }
        });
    }

    pub(super) fn seal(&mut self, journal: SchedulerId) {
        let me = self.shared.driver.me();
        let known = journal == me || self.sealed.contains_key(&journal);
        if known || self.shared.is_draining() || !self.sealing.insert(journal.clone()) {
            return;
        }
        tracing::warn!(%journal, "taking over: sealing the journal");
        let (shared, journaling) = (Arc::clone(&self.shared), self.journaling.clone());
        let failures = self.unsealed.get(&journal).copied().unwrap_or_default();
        self.shared.spawn_until_stopped(async move {
            let found = steps::seal(&journaling, &journal, &me).await;
            let found = match found {
                Ok(found) => Some(Box::new(found)),
                Err(error) => {
                    tracing::warn!(%journal, %error, "cannot seal the journal yet");
                    if steps::is_given_up(&error, failures) {
                        steps::give_up_damaged(&journaling, &journal, &me).await;
                    }
                    steps::pause_for(steps::pause_after(&error, failures)).await;
                    None
                }
            };
            shared.driver.newsroom.tell(News::Sealed(journal, found));
        });
    }

    pub(super) fn found(&mut self, journal: SchedulerId, found: Option<Box<Replayed>>) {
        self.sealing.remove(&journal);
        let Some(found) = found else {
            let failures = self.unsealed.entry(journal.clone()).or_default();
            *failures = failures.saturating_add(1);
            // Suspicion says so again as long as it lasts; a journal without a beacon is asked for
            // here alone.
            if !self.shared.membership.knows(&journal) {
                self.seal(journal);
            }
            return;
        };
        self.unsealed.remove(&journal);
        for what in &found.left_out {
            tracing::error!(%journal, what, "a record cannot be read, and counts for nothing");
        }
        let metrics = &self.shared.driver.metrics;
        metrics.unreadable(found.left_out.len());
        self.shared.membership.gone_for_good(&journal);
        if found.sealed_by() == Some(&journal) {
            self.shared.membership.has_left(&journal);
        }
        let gone = Evidence::Gone {
            scheduler: journal.clone(),
        };
        self.suspicion.handle(gone, self.now());
        self.shared.tell_members();
        self.members();
        if found.drained {
            self.suspect.remove(&journal);
            self.clear(journal);
        } else {
            let standing = found.book.standing().clone();
            self.journaling.passing.sealed(&journal, &found.book);
            self.sealed.insert(journal.clone(), found.book);
            self.tell_ownership(OwnershipEvent::Sealed { journal, standing });
        }
        self.shared.driver.newsroom.change();
    }

    /// Whoever drained the journal may have died before it took everything away.
    fn clear(&self, journal: SchedulerId) {
        let (shared, journaling) = (Arc::clone(&self.shared), self.journaling.clone());
        self.shared.spawn_until_stopped(async move {
            steps::clear(&shared, &journaling, &journal).await;
        });
    }
}
