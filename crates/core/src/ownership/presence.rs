//! Whether a scheduler whose journal was sealed is a member again.
//!
//! A member costs the others something: they watch it, wait until it knows of a change of the catalog,
//! and seal its journal when it answers nobody. One that is cut off would be sealed again after every
//! `takeover_after`, each time under another id and with a journal that holds nothing. So after a seal
//! a scheduler stays apart: it has another id and an empty journal, and its beacon goes on under the id
//! that all know to be over, until it is worth something again to be a member.
//!
//! | it is a member again | because |
//! |---|---|
//! | when an executor or another scheduler reaches it | it can drive queries |
//! | when it has something to write into its journal | whoever seals that carries it on |
//! | when there is no other scheduler | nobody else is there, and nobody is bothered |
//!
//! Only the number of seals rests on this. A member too early is sealed once more; and nobody stays apart
//! for good, because the others go on telling it that it is over, which is to reach it.

/// What bears on being a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceEvent {
    /// The scheduler's journal is over, and it has another id from now on.
    Over {
        /// How many executors hold a stream to it.
        executors: usize,
        /// How many other schedulers have a beacon.
        others: usize,
    },
    /// An executor or another scheduler reached it.
    Reached,
    /// It has something to write into its journal.
    Needed,
    /// It looked around.
    Looked {
        /// How many other schedulers have a beacon.
        others: usize,
    },
}

/// Whether a scheduler is a member.
#[derive(Debug, Default)]
pub struct Presence {
    apart: bool,
}

impl Presence {
    /// Takes note of an event. True if the scheduler is to be a member from now on, under the id that it
    /// has by then.
    pub fn handle(&mut self, event: PresenceEvent) -> bool {
        let joins = match event {
            PresenceEvent::Over { executors, others } => {
                self.apart = true;
                executors > 0 || others == 0
            }
            PresenceEvent::Looked { others } => others == 0,
            PresenceEvent::Reached | PresenceEvent::Needed => true,
        };
        joins && std::mem::take(&mut self.apart)
    }

    /// Whether it stays apart: it has written nothing under its present id.
    pub fn is_apart(&self) -> bool {
        self.apart
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::PresenceEvent::{Looked, Needed, Over, Reached};
    use super::*;
    use crate::Now;
    use crate::ownership::testing::scheduler;
    use crate::ownership::{Evidence, Suspicion, SuspicionOptions};

    const ALONE: PresenceEvent = Over {
        executors: 0,
        others: 1,
    };

    #[test]
    fn a_scheduler_is_a_member_again_when_that_is_worth_something() {
        for event in [Reached, Needed, Looked { others: 0 }] {
            let mut presence = Presence::default();
            assert!(!presence.handle(event), "it is one: {event:?}");
            assert!(!presence.handle(ALONE));
            assert!(!presence.handle(Looked { others: 1 }));
            assert!(presence.is_apart());
            assert!(presence.handle(event), "{event:?}");
            assert!(!presence.is_apart());
            assert!(!presence.handle(event), "once: {event:?}");
        }
        for (executors, others) in [(1, 1), (0, 0)] {
            let mut presence = Presence::default();
            assert!(presence.handle(Over { executors, others }));
            assert!(!presence.is_apart());
        }
    }

    /// A scheduler that is cut off for a hundred seconds, and one that watches it. At these seconds the
    /// former gets something to write.
    fn seals_of_one_that_is_cut_off(writes: &[u64]) -> usize {
        let mut presence = Presence::default();
        let mut suspicion = Suspicion::new(SuspicionOptions::default());
        let (mut life, mut seals) = (0, 0);
        let mut member_since = Some(0);
        for second in 0..100 {
            if writes.contains(&second) && presence.handle(Needed) {
                member_since = Some(second);
            }
            let Some(since) = member_since else { continue };
            let id = || scheduler(&format!("s{life}"));
            let now = Now(Duration::from_secs(second));
            suspicion.handle(Evidence::Alive { scheduler: id() }, now);
            let unanswered = Evidence::Unanswered {
                scheduler: id(),
                silence: Duration::from_secs(second - since),
                executors: 1,
            };
            if suspicion.handle(unanswered, now) != [id()] {
                continue;
            }
            seals += 1;
            suspicion.handle(Evidence::Gone { scheduler: id() }, now);
            life += 1;
            member_since = presence.handle(ALONE).then_some(second);
        }
        seals
    }

    #[test]
    fn one_that_is_cut_off_is_sealed_for_what_it_holds_and_not_again() {
        assert_eq!(seals_of_one_that_is_cut_off(&[]), 1);
        assert_eq!(seals_of_one_that_is_cut_off(&[20, 50]), 3);
        assert_eq!(seals_of_one_that_is_cut_off(&[20, 21, 22]), 2, "together");
    }
}
