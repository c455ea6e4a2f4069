//! What a scheduler may do next, from what it knows: the heart of the protocol.
//!
//! Each step is one create. What a step rests on is either true for good (a seal, a claim that
//! exists) or is tried by the create itself (a claim that did not), so it does no harm if the world
//! has moved on when it lands.

use std::collections::BTreeMap;

use paceline_model::{Epoch, QueryId, SchedulerId};

use super::claims::{Claims, Known};
use super::rules::{Rule, Rules};
use super::standing::{Entry, Hold, Standing};

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
    /// Create the claim of a submitted query that a sealed journal holds, in the name of whoever
    /// accepted it there.
    Submit {
        /// The query.
        query: QueryId,
        /// The sealed journal's scheduler.
        holder: SchedulerId,
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
    /// It was submitted, and its claim has to be made first.
    Unsubmitted,
}

/// What one query in a sealed journal needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing, for good.
    Nothing,
    /// This step.
    This(Step),
    /// It waits for a step that is recorded already.
    Patience,
}

/// How a query in one's own open journal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// It is one's own.
    Mine,
    /// It is adopted, or submitted, and not claimed.
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
    /// How a query that `holder`'s sealed journal holds stands.
    pub fn verdict(&self, holder: &SchedulerId, query: QueryId, hold: Hold) -> Verdict {
        let epoch = hold.epoch();
        match (hold, deciding(self.claims, query, hold)) {
            (Hold::Accepted, _) => {}
            (Hold::Submitted, _) if !self.rules.hold(Rule::CompleteSubmission) => {}
            (_, Known::By(winner)) if winner == holder => {}
            (_, Known::By(_)) => return Verdict::Settled,
            (Hold::Submitted, _) => return Verdict::Unsubmitted,
            (Hold::Adopted(_), Known::Unread) => return Verdict::Unread(epoch),
            (Hold::Adopted(_), Known::Free) if self.rules.hold(Rule::SettleUnclaimed) => {
                return Verdict::Open(epoch);
            }
            (Hold::Adopted(_), Known::Free) => return Verdict::Settled,
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
    pub fn stance(&self, query: QueryId, hold: Hold) -> Stance {
        let rule = match hold {
            Hold::Accepted => return Stance::Mine,
            Hold::Submitted => Rule::ClaimSubmission,
            Hold::Adopted(_) => Rule::ClaimAfterAdoption,
        };
        match deciding(self.claims, query, hold) {
            Known::By(winner) => claimed(self.me, winner),
            Known::Free | Known::Unread if self.rules.hold(rule) => Stance::Unclaimed,
            Known::Free | Known::Unread => Stance::Mine,
        }
    }

    /// The claim that one's own journal lacks for a query, if it does.
    pub fn claim_to_make(&self, query: QueryId, hold: Hold) -> Option<Step> {
        let epoch = hold.epoch();
        let lacks = self.stance(query, hold) == Stance::Unclaimed;
        lacks.then_some(Step::Claim { query, epoch })
    }

    /// The claims that one's own journal lacks.
    pub fn claims_to_make(&self) -> Vec<Step> {
        let queries = self.own.queries();
        let lacking = queries.filter_map(|(query, hold)| self.claim_to_make(query, hold));
        lacking.collect()
    }

    /// What to do about a sealed journal that is not drained: look, adopt, or drain it.
    pub fn about_sealed(&self, holder: &SchedulerId, journal: &Standing) -> Vec<Step> {
        if journal.sealed_by().is_none() || self.own.sealed_by().is_some() {
            return Vec::new();
        }
        let mut steps = Vec::new();
        let mut settled = true;
        for (query, hold) in journal.queries() {
            let need = self.need(holder, query, hold);
            settled &= need == Need::Nothing;
            if let Need::This(step) = need {
                steps.push(step);
            }
        }
        if settled {
            let journal = holder.clone();
            steps.push(Step::Drain { journal });
        }
        steps
    }

    /// What one query needs that `holder`'s sealed journal holds.
    pub(super) fn need(&self, holder: &SchedulerId, query: QueryId, hold: Hold) -> Need {
        match self.verdict(holder, query, hold) {
            Verdict::Settled => Need::Nothing,
            Verdict::Unread(epoch) => Need::This(Step::ReadClaim { query, epoch }),
            Verdict::Unsubmitted => {
                let holder = holder.clone();
                Need::This(Step::Submit { query, holder })
            }
            Verdict::Open(epoch) => {
                let adopt = self.adopt(holder, query, epoch);
                adopt.map_or(Need::Patience, Need::This)
            }
        }
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
        let owned: BTreeMap<QueryId, Hold> = queries
            .filter(|(query, hold)| keep(self.stance(*query, *hold)))
            .collect();
        Entry::Snapshot { owned }
    }
}

/// How a query stands in the journal of `me` whose claim names `winner`.
pub fn claimed(me: &SchedulerId, winner: &SchedulerId) -> Stance {
    match winner == me {
        true => Stance::Mine,
        false => Stance::Lost,
    }
}

/// The claim that decides whether a hold counts; one of a query that nobody else can have is not asked for.
fn deciding<'a>(claims: &'a dyn Claims, query: QueryId, hold: Hold) -> Known<'a> {
    match hold {
        Hold::Accepted => Known::Unread,
        _ => claims.claim(query, hold.epoch()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::ClaimBook;
    use crate::ownership::testing::{query, scheduler};

    /// What `me` makes of `a`'s sealed journal, which holds query 1 at `epoch`.
    fn about(epoch: u64, claims: &[(u64, Option<&str>)]) -> Vec<Step> {
        about_held(Hold::at(Epoch(epoch)), claims)
    }

    fn about_held(hold: Hold, claims: &[(u64, Option<&str>)]) -> Vec<Step> {
        let mut journal = Standing::default();
        journal.apply(&Entry::Owned {
            query: query(1),
            hold,
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
    fn a_submitted_query_is_claimed_for_who_accepted_it_first() {
        let submitted = |claims| about_held(Hold::Submitted, claims);
        let submit = vec![Step::Submit {
            query: query(1),
            holder: scheduler("a"),
        }];
        let drain = vec![Step::Drain {
            journal: scheduler("a"),
        }];
        assert_eq!(submitted(&[]), submit);
        assert_eq!(submitted(&[(0, None)]), submit);
        assert_eq!(submitted(&[(0, Some("b"))]), drain, "it is a copy");
        assert_eq!(submitted(&[(0, Some("a"))]), read(1));
        assert_eq!(submitted(&[(0, Some("a")), (1, None)]), adopt(1));
        assert_eq!(submitted(&[(0, Some("a")), (1, Some("b"))]), drain);
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
