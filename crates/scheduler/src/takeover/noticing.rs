//! Who is alive, by the word of executors, peers and beacons.

use std::time::{Duration, Instant};

use paceline_core::ownership::{Evidence, OwnershipEvent, PresenceEvent};
use paceline_model::SchedulerId;

use super::Takeover;

impl Takeover {
    pub(super) fn evidence(&mut self, evidence: Evidence) {
        let me = self.shared.driver.me();
        // Executors notice late that a stream to one that is over has ended.
        let about = evidence.scheduler();
        if about.is_some_and(|about| self.shared.membership.is_over(about)) {
            return;
        }
        match &evidence {
            Evidence::Alive { scheduler } | Evidence::Answered { scheduler } => {
                self.suspect.remove(scheduler);
            }
            // A beacon is looked at more than once in a beat: that it stands still says something only
            // when it does so for longer.
            Evidence::Still { scheduler, silence }
            | Evidence::Unanswered {
                scheduler, silence, ..
            } if *silence >= self.journaling.suspicion.takeover_after / 2 => {
                let since = Instant::now().checked_sub(*silence);
                let since = since.unwrap_or(self.started);
                self.suspect.entry(scheduler.clone()).or_insert(since);
            }
            Evidence::Refused { scheduler }
            | Evidence::Stream {
                scheduler,
                held: false,
                ..
            } => {
                self.suspect
                    .entry(scheduler.clone())
                    .or_insert_with(Instant::now);
            }
            _ => {}
        }
        let dead = self.suspicion.handle(evidence, self.now());
        for journal in dead.into_iter().filter(|dead| *dead != me) {
            self.seal(journal);
        }
    }

    pub(super) fn beacons(&mut self, peers: Vec<(SchedulerId, Duration)>) {
        let others = peers.len();
        self.attend(PresenceEvent::Looked { others });
        for (scheduler, silence) in peers {
            if self.sealed.contains_key(&scheduler) {
                continue;
            }
            self.evidence(if silence.is_zero() {
                Evidence::Alive { scheduler }
            } else {
                Evidence::Still { scheduler, silence }
            });
        }
        let of = self.shared.membership.present();
        let (sealed, sealing) = (&self.sealed, &self.sealing);
        let is_taken_over =
            |peer: &SchedulerId| sealed.contains_key(peer) || sealing.contains(peer);
        self.suspect
            .retain(|peer, _| of.contains(peer) || is_taken_over(peer));
        self.evidence(Evidence::Beacons { of });
        self.members();
    }

    pub(super) fn members(&mut self) {
        let mut live = self.suspicion.live();
        live.insert(self.shared.driver.me());
        self.tell_ownership(OwnershipEvent::Members { live });
    }
}
