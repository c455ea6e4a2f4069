//! When the own journal may be over, and when it is.

use std::sync::Arc;

use paceline_core::ownership::{Closed, Ownership, Suspicion};
use paceline_model::{Invariant, SchedulerId};

use super::Takeover;
use crate::news::News;

impl Takeover {
    /// Finds out whether the own journal is still open, by writing to it.
    pub(super) fn doubt(&mut self) {
        if std::mem::replace(&mut self.doubting, true) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.shared.spawn(async move {
            // If it is over, the journal itself says so.
            if shared.driver.scribe.flush().await.is_ok() {
                shared.driver.newsroom.tell(News::Trust);
            }
        });
    }

    pub(super) fn closed(&mut self, journal: &SchedulerId, why: &Closed) {
        if *journal != self.shared.driver.me() {
            return;
        }
        self.doubting = false;
        self.coming.clear();
        if let Closed::Taken { .. } = why {
            let metrics = &self.shared.driver.metrics;
            metrics.violated(Invariant::OneOwner, &why.to_string());
        }
        if self.shared.is_draining() {
            self.shared.driver.close();
            self.shared.driver.newsroom.change();
            return;
        }
        tracing::warn!(scheduler = %journal, %why, "fenced: going on under a new id");
        self.shared.driver.metrics.fenced();
        let (scribe, journaling) = (&self.shared.driver.scribe, &self.journaling);
        self.shared.driver.fence(|identity| {
            let id = identity.renew();
            scribe.begin(journaling.begin(&self.shared, id));
        });
        // While it was held for dead nobody told it of the catalog.
        self.shared.catalog.doubt();
        let me = self.shared.driver.me();
        self.shared.membership.renew(&self.shared, me.clone());
        self.ownership = Ownership::new(me, self.journaling.patience);
        self.suspicion = Suspicion::new(self.journaling.suspicion);
        self.sealed.clear();
        self.sealing.clear();
        self.wake = None;
        self.look_for_journals();
        self.shared.driver.newsroom.change();
    }
}
