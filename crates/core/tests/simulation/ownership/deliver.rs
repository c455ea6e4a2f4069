//! What becomes of the things that are on their way.

use paceline_core::ownership::{Append, AppendOutcome, Entry, OwnershipEvent, Standing, Step};
use paceline_model::{Epoch, Invariant, QueryId, SchedulerId};

use super::store::Segment;
use super::world::{Pending, World};

impl World {
    /// Something that was on its way arrives.
    pub(crate) fn deliver(&mut self, nth: usize) {
        match self.pending.swap_remove(nth) {
            Pending::Append {
                journal,
                seq,
                segment,
                tell,
            } => {
                let outcome = self.land(&journal, seq, segment);
                if tell {
                    self.pending.push(Pending::Appended(journal, outcome));
                }
            }
            Pending::Appended(to, outcome) => {
                self.writes += 1;
                let (now, write) = (self.now, self.writes);
                if let Some(process) = self.process(&to)
                    && let Some(life) = &mut self.lives[process]
                {
                    let wants = life.feed(Append::Outcome(outcome), now, write);
                    self.grant(process, wants);
                }
            }
            Pending::Step { by, step, tell } => {
                let event = self.step(&by, step);
                if tell {
                    self.pending.push(Pending::Told(by, event));
                }
            }
            Pending::Told(to, event) => {
                if let Some(process) = self.process(&to)
                    && !self.submitted(process, &event)
                {
                    self.tell(process, event);
                }
            }
            Pending::Seal { by, journal } => self.seal(by, journal),
            Pending::Truncate(journal, below) => self.remove(journal, Some(below)),
            Pending::Clear(journal) => self.remove(journal, None),
            Pending::Command(by, query, epoch) => self.obey(by, query, epoch),
        }
    }

    fn land(&mut self, journal: &SchedulerId, seq: u64, segment: Segment) -> AppendOutcome {
        // What lands after a seal, or where a segment was removed, means nothing.
        let counts = self
            .store
            .journals
            .get(journal)
            .map_or(seq == 0, |it| it.is_open() && it.replay().next == Some(seq));
        let entries = segment.entries.clone();
        let outcome = self.store.append(journal, seq, segment);
        for entry in entries.iter().filter(|_| counts) {
            match entry {
                Entry::Owned { query, hold } if hold.epoch() == Epoch(0) => {
                    self.accepted.insert(*query);
                }
                Entry::Ended { query } => {
                    self.counts.ended += 1;
                    let first = self.ended.insert(*query);
                    assert!(first, "{}", Invariant::OneOutcome.text());
                }
                _ => {}
            }
        }
        outcome
    }

    fn step(&mut self, by: &SchedulerId, step: Step) -> OwnershipEvent {
        match step {
            Step::ReadClaim { query, epoch } => OwnershipEvent::Claim {
                by: self.store.adopter(query, epoch),
                query,
                epoch,
            },
            Step::Claim { query, epoch } => OwnershipEvent::Claim {
                by: Some(self.store.adopt(query, epoch, by)),
                query,
                epoch,
            },
            Step::Submit { query, holder } => {
                let epoch = Epoch(0);
                let first = self.store.adopter(query, epoch).is_none();
                self.counts.completed += u64::from(first && *by != holder);
                OwnershipEvent::Claim {
                    by: Some(self.store.adopt(query, epoch, &holder)),
                    query,
                    epoch,
                }
            }
            Step::Drain { journal } => {
                let it = self.store.journals.entry(journal.clone()).or_default();
                it.drained = true;
                self.counts.drained += 1;
                self.pending.push(Pending::Clear(journal.clone()));
                OwnershipEvent::Drained { journal }
            }
            Step::Adopt { .. } => panic!("an adoption is appended"),
        }
    }

    /// One look at a journal that is to be sealed, and a try to seal it.
    fn seal(&mut self, by: SchedulerId, journal: SchedulerId) {
        let Some(process) = self.process(&by) else {
            return;
        };
        let it = self.store.journals.entry(journal.clone()).or_default();
        let replayed = it.replay();
        let over = it.drained || replayed.standing.sealed_by().is_some();
        if over && (it.drained || replayed.next.is_some()) {
            if !it.drained {
                let standing: Standing = replayed.standing;
                self.counts.settled +=
                    u64::from(standing.queries().any(|(_, held)| held.epoch() > Epoch(0)));
                self.tell(process, OwnershipEvent::Sealed { journal, standing });
            }
            return;
        }
        if let Some(seq) = replayed.next.filter(|_| !over) {
            self.writes += 1;
            let segment = Segment {
                write: self.writes,
                entries: vec![Entry::Seal { by: by.clone() }],
            };
            // Its answer does not matter: a look tells.
            self.pending.push(Pending::Append {
                journal: journal.clone(),
                seq,
                segment,
                tell: false,
            });
        }
        self.pending.push(Pending::Seal { by, journal });
    }

    /// Removes one segment, the lowest: below a snapshot, or of a drained journal.
    fn remove(&mut self, journal: SchedulerId, below: Option<u64>) {
        let Some(it) = self.store.journals.get_mut(&journal) else {
            return;
        };
        let (seq, again) = match below {
            Some(below) => {
                let seq = it.segments.range(..below).next().map(|(seq, _)| *seq);
                (seq, Pending::Truncate(journal, below))
            }
            None => (it.rest(), Pending::Clear(journal)),
        };
        if let Some(seq) = seq {
            it.segments.remove(&seq);
            self.counts.removed += 1;
            self.pending.push(again);
        }
    }

    /// An executor gets a command.
    fn obey(&mut self, by: SchedulerId, query: QueryId, epoch: Epoch) {
        match self.obeyed.get(&query) {
            Some((seen, _)) if epoch < *seen => self.counts.refused += 1,
            Some((seen, owner)) if epoch == *seen => {
                assert_eq!(*owner, by, "{}", Invariant::OneOwner.text());
            }
            _ => {
                self.obeyed.insert(query, (epoch, by));
            }
        }
    }
}
