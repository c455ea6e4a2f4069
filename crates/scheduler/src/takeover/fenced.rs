//! When the own journal may be over, and when it is; and when the scheduler is a member again after that.

use std::sync::Arc;

use paceline_core::ownership::{
    Closed, Entry, Ownership, OwnershipEvent, PresenceEvent, Suspicion,
};
use paceline_model::{Invariant, SchedulerId};

use super::Takeover;
use crate::news::News;

impl Takeover {
    /// Finds out whether the own journal is still open, by writing to it. While the scheduler stays apart
    /// there is none: to write one for this alone would have others seal it.
    pub(super) fn doubt(&mut self) {
        if self.presence.is_apart() {
            return;
        }
        if std::mem::replace(&mut self.doubting, true) {
            self.doubted_since = true;
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.shared.spawn_until_stopped(async move {
            // If it is over, the journal itself says so.
            if shared.driver.scribe.flush().await.is_ok() {
                shared.driver.newsroom.tell(News::Trust);
            }
        });
    }

    /// The own journal was open a moment ago. What a later doubt is about may have come after that.
    pub(super) fn trust(&mut self) {
        self.doubting = false;
        if std::mem::take(&mut self.doubted_since) {
            self.doubt();
        }
    }

    pub(super) fn closed(&mut self, journal: &SchedulerId, why: &Closed) {
        if *journal != self.shared.driver.me() {
            return;
        }
        (self.doubting, self.doubted_since) = (false, false);
        self.coming.clear();
        self.journaling.passing.adopt_nothing();
        if let Closed::Taken { .. } = why {
            let metrics = &self.shared.driver.metrics;
            metrics.violated(Invariant::OneOwner, &why.to_string());
        }
        if self.shared.is_draining() {
            self.shared.driver.close();
            // What could not be adopted any more would be tried until the end.
            let by = journal.clone();
            let entry = Entry::Seal { by };
            self.tell_ownership(OwnershipEvent::Recorded { entry });
            self.shared.driver.newsroom.change();
            return;
        }
        tracing::warn!(scheduler = %journal, %why, "fenced: going on under a new id");
        self.shared.driver.metrics.fenced();
        let executors = self.shared.driver.open_streams();
        let journaling = &self.journaling;
        self.shared.driver.fence(|identity| {
            journaling.begin(&self.shared, identity.renew());
        });
        let me = self.shared.driver.me();
        // Nobody tells it of the catalog before it is a member again, so it looks by itself.
        self.shared.membership.stay_apart(me.clone());
        self.ownership = Ownership::new(me, self.journaling.patience);
        self.suspicion = Suspicion::new(self.journaling.suspicion);
        self.sealed.clear();
        self.journaling.passing.begin_anew();
        self.sealing.clear();
        self.unsealed.clear();
        self.wake = None;
        self.look_for_journals();
        let others = self.shared.membership.silences().len();
        self.attend(PresenceEvent::Over { executors, others });
        self.shared.driver.newsroom.change();
    }

    /// Takes note of what bears on being a member.
    pub(super) fn attend(&mut self, event: PresenceEvent) {
        if self.presence.handle(event) && !self.shared.is_draining() {
            self.shared.membership.join(&self.shared);
        }
    }
}
