//! What a scheduler may do next, from what it knows: the heart of the protocol.
//!
//! Each step is one create. What a step rests on is either true for good (a seal, a claim that
//! exists) or is tried by the create itself (a claim that did not), so it does no harm if the world
//! has moved on when it lands.

use std::collections::BTreeMap;

use paceline_model::{Epoch, QueryId, SchedulerId};

use super::claims::{Claims, Known};
use super::rules::{Rule, Rules};
use super::standing::{Entry, Standing};

/// One create that would move ownership on, or a look that is needed to know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Look at a claim.
    ReadClaim {
        /// The query.
        query: QueryId,
        /// The epoch.
        epoch: Epoch,
    },
    /// Append `Adopted` to one's own journal.
    Adopt {
        /// The sealed journal that holds the query.
        from: SchedulerId,
        /// The query.
        query: QueryId,
        /// At which epoch.
        epoch: Epoch,
    },
    /// Create the claim of an adoption that is in one's own journal.
    Claim {
        /// The query.
        query: QueryId,
        /// At which epoch.
        epoch: Epoch,
    },
    /// Create the marker that a sealed journal holds nothing of importance any more.
    Drain {
        /// The journal's scheduler.
        journal: SchedulerId,
    },
}

/// How a query in a sealed journal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Somebody else has it, or had.
    Settled,
    /// It is up for adoption at this epoch.
    Open(Epoch),
    /// The claim of this epoch has to be looked at first.
    Unread(Epoch),
}

/// How a query in one's own open journal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// It is one's own.
    Mine,
    /// It is adopted and not claimed.
    Unclaimed,
    /// Somebody else won the claim.
    Lost,
}

/// What one scheduler knows.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// The scheduler.
    pub me: &'a SchedulerId,
    /// Its own journal, as far as it is durable.
    pub own: &'a Standing,
    /// The claims it has seen.
    pub claims: &'a dyn Claims,
    /// The rules it follows.
    pub rules: Rules,
}

impl Sight<'_> {
    /// How a query that `holder`'s sealed journal holds at `epoch` stands.
    pub fn verdict(&self, holder: &SchedulerId, query: QueryId, epoch: Epoch) -> Verdict {
        if epoch > Epoch(0) {
            match self.claims.claim(query, epoch) {
                Known::Unread => return Verdict::Unread(epoch),
                Known::Free if self.rules.hold(Rule::SettleUnclaimed) => {
                    return Verdict::Open(epoch);
                }
                Known::Free => return Verdict::Settled,
                Known::By(winner) if winner != holder => return Verdict::Settled,
                Known::By(_) => {}
            }
        }
        let after = epoch.next();
        match self.claims.claim(query, after) {
            Known::Unread => Verdict::Unread(after),
            Known::Free => Verdict::Open(after),
            Known::By(_) => Verdict::Settled,
        }
    }

    /// How a query in one's own journal stands. A claim that was not looked at is taken for free:
    /// creating it tells.
    pub fn stance(&self, query: QueryId, epoch: Epoch) -> Stance {
        if epoch == Epoch(0) {
            return Stance::Mine;
        }
        match self.claims.claim(query, epoch) {
            Known::By(winner) if winner == self.me => Stance::Mine,
            Known::By(_) => Stance::Lost,
            Known::Free | Known::Unread if self.rules.hold(Rule::ClaimAfterAdoption) => {
                Stance::Unclaimed
            }
            Known::Free | Known::Unread => Stance::Mine,
        }
    }

    /// The claims that one's own adoptions lack.
    pub fn claims_to_make(&self) -> Vec<Step> {
        let unclaimed = self
            .own
            .queries()
            .filter(|(query, epoch)| self.stance(*query, *epoch) == Stance::Unclaimed);
        unclaimed
            .map(|(query, epoch)| Step::Claim { query, epoch })
            .collect()
    }

    /// What to do about a sealed journal that is not drained: look, adopt, or drain it.
    pub fn about_sealed(&self, holder: &SchedulerId, journal: &Standing) -> Vec<Step> {
        if journal.sealed_by().is_none() || self.own.sealed_by().is_some() {
            return Vec::new();
        }
        let mut steps = Vec::new();
        let mut settled = true;
        for (query, epoch) in journal.queries() {
            match self.verdict(holder, query, epoch) {
                Verdict::Settled => {}
                Verdict::Unread(epoch) => {
                    settled = false;
                    steps.push(Step::ReadClaim { query, epoch });
                }
                Verdict::Open(epoch) => {
                    settled = false;
                    steps.extend(self.adopt(holder, query, epoch));
                }
            }
        }
        if settled {
            let journal = holder.clone();
            steps.push(Step::Drain { journal });
        }
        steps
    }

    fn adopt(&self, from: &SchedulerId, query: QueryId, epoch: Epoch) -> Option<Step> {
        if self.own.epoch(query).is_some_and(|held| held >= epoch) {
            return None;
        }
        if !self.rules.hold(Rule::JournalBeforeClaim) {
            return Some(Step::Claim { query, epoch });
        }
        let from = from.clone();
        Some(Step::Adopt { from, query, epoch })
    }

    /// The snapshot that may stand for all of one's own journal: without what others won.
    pub fn snapshot(&self) -> Entry {
        let keep = |stance| match stance {
            Stance::Mine => true,
            Stance::Unclaimed => self.rules.hold(Rule::SnapshotKeepsUnclaimed),
            Stance::Lost => false,
        };
        let queries = self.own.queries();
        let owned: BTreeMap<QueryId, Epoch> = queries
            .filter(|(query, epoch)| keep(self.stance(*query, *epoch)))
            .collect();
        Entry::Snapshot { owned }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::ClaimBook;
    use crate::ownership::testing::{query, scheduler};

    /// What `me` makes of `a`'s sealed journal, which holds query 1 at `epoch`.
    fn about(epoch: u64, claims: &[(u64, Option<&str>)]) -> Vec<Step> {
        let mut journal = Standing::default();
        journal.apply(&Entry::Owned {
            query: query(1),
            epoch: Epoch(epoch),
        });
        journal.apply(&Entry::Seal {
            by: scheduler("me"),
        });
        let mut book = ClaimBook::default();
        for (epoch, by) in claims {
            book.note(query(1), Epoch(*epoch), by.map(scheduler));
        }
        let sight = Sight {
            me: &scheduler("me"),
            own: &Standing::default(),
            claims: &book,
            rules: Rules::default(),
        };
        sight.about_sealed(&scheduler("a"), &journal)
    }

    fn adopt(epoch: u64) -> Vec<Step> {
        vec![Step::Adopt {
            from: scheduler("a"),
            query: query(1),
            epoch: Epoch(epoch),
        }]
    }

    fn read(epoch: u64) -> Vec<Step> {
        vec![Step::ReadClaim {
            query: query(1),
            epoch: Epoch(epoch),
        }]
    }

    #[test]
    fn every_case_of_a_sealed_journal() {
        let drain = vec![Step::Drain {
            journal: scheduler("a"),
        }];
        assert_eq!(about(0, &[]), read(1));
        assert_eq!(about(0, &[(1, None)]), adopt(1));
        assert_eq!(about(0, &[(1, Some("b"))]), drain);
        assert_eq!(about(2, &[]), read(2));
        assert_eq!(about(2, &[(2, None)]), adopt(2), "it is settled there");
        assert_eq!(about(2, &[(2, Some("b"))]), drain);
        assert_eq!(about(2, &[(2, Some("a"))]), read(3));
        assert_eq!(about(2, &[(2, Some("a")), (3, None)]), adopt(3));
        assert_eq!(about(2, &[(2, Some("a")), (3, Some("me"))]), drain);
    }

    #[test]
    fn an_open_journal_is_left_alone() {
        let book = ClaimBook::default();
        let sight = Sight {
            me: &scheduler("me"),
            own: &Standing::default(),
            claims: &book,
            rules: Rules::default(),
        };
        let open = Standing::default();
        assert_eq!(sight.about_sealed(&scheduler("a"), &open), []);
    }
}
