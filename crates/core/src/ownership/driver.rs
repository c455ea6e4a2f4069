//! Drives adoption on one scheduler: what it learns in, the steps to take out, each once.
//!
//! The machine keeps what it knows and asks [`Sight`] after every event; it adds only who goes first
//! and what is under way already. Of the queries it looks at those that the event is about: a takeover
//! may be of thousands, each with several events. Nothing of it needs to survive: a new process learns it
//! all again from the journals and claims.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use paceline_model::{Epoch, QueryId, SchedulerId};

use super::claims::{ClaimBook, Claims, Known};
use super::rendezvous::rank;
use super::rules::{Rule, Rules};
use super::standing::{Entry, Hold, Standing};
use super::steps::{Need, Sight, Stance, Step};
use crate::Now;

/// What a scheduler learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnershipEvent {
    /// These schedulers are live, oneself included.
    Members {
        /// Their names.
        live: BTreeSet<SchedulerId>,
    },
    /// A record of one's own journal became durable.
    Recorded {
        /// The record.
        entry: Entry,
    },
    /// A journal is sealed, and this is what it held.
    Sealed {
        /// The journal's scheduler.
        journal: SchedulerId,
        /// What it held.
        standing: Standing,
    },
    /// A claim was looked at, or its creation ended: it names `by`, or nobody yet.
    Claim {
        /// The query.
        query: QueryId,
        /// The epoch; 0 for the claim of a submitted query.
        epoch: Epoch,
        /// Whom it names.
        by: Option<SchedulerId>,
    },
    /// A step could not be taken, because the store did not answer. It is asked for again at once, so
    /// this is told after a pause.
    Failed {
        /// The step.
        step: Step,
    },
    /// A journal has its `drained` marker.
    Drained {
        /// The journal's scheduler.
        journal: SchedulerId,
    },
    /// Time went by.
    Tick,
}

/// What a scheduler is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnershipAction {
    /// Take a step, and tell how it ended.
    Take(Step),
    /// The query is one's own from now on: tell the executors.
    Own {
        /// The query.
        query: QueryId,
        /// At which epoch.
        epoch: Epoch,
    },
    /// Somebody else won the query.
    Lost {
        /// The query.
        query: QueryId,
        /// At which epoch.
        epoch: Epoch,
        /// Who.
        to: SchedulerId,
    },
    /// A claim named two schedulers, one after the other, which no store may show that keeps its word.
    /// The first one counts.
    Conflict {
        /// The query.
        query: QueryId,
        /// At which epoch.
        epoch: Epoch,
        /// Whom it named, in that order.
        by: [SchedulerId; 2],
    },
    /// Send [`OwnershipEvent::Tick`] at this time.
    WakeAt(Now),
}

#[derive(Debug)]
struct Sealed {
    standing: Standing,
    since: Now,
    /// The queries that are not known to be settled. One that is stays so.
    unsettled: BTreeSet<QueryId>,
    /// Those that were left to others first, and whose claims were looked at again after that.
    looked_again: BTreeSet<QueryId>,
}

/// What an event may have changed.
enum Touched {
    /// Who goes first, or all that is known of a journal.
    Everything,
    /// One query.
    Query(QueryId),
    /// Nothing but what was under way.
    Nothing,
}

/// Adoption, as one scheduler sees it.
#[derive(Debug)]
pub struct Ownership {
    me: SchedulerId,
    patience: Duration,
    own: Standing,
    sealed: BTreeMap<SchedulerId, Sealed>,
    claims: ClaimBook,
    live: BTreeSet<SchedulerId>,
    under_way: BTreeSet<Step>,
}

impl Ownership {
    /// Scheduler `me`, which leaves each query for `patience` to each one that goes before it.
    pub fn new(me: SchedulerId, patience: Duration) -> Self {
        Ownership {
            live: BTreeSet::from([me.clone()]),
            me,
            patience,
            own: Standing::default(),
            sealed: BTreeMap::new(),
            claims: ClaimBook::default(),
            under_way: BTreeSet::new(),
        }
    }

    /// Takes note of an event and says what is to be done.
    pub fn handle(&mut self, event: OwnershipEvent, now: Now) -> Vec<OwnershipAction> {
        let mut actions = Vec::new();
        let touched = touched_by(&event);
        self.note(event, now, &mut actions);
        self.advance(&touched, now, &mut actions);
        actions
    }

    /// What one's own journal adds up to.
    pub fn own(&self) -> &Standing {
        &self.own
    }

    /// The snapshot that may stand for all of one's own journal.
    pub fn snapshot(&self) -> Entry {
        self.sight().snapshot()
    }

    fn sight(&self) -> Sight<'_> {
        Sight {
            me: &self.me,
            own: &self.own,
            claims: &self.claims,
            rules: Rules::default(),
        }
    }

    fn note(&mut self, event: OwnershipEvent, now: Now, actions: &mut Vec<OwnershipAction>) {
        match event {
            OwnershipEvent::Members { live } => self.live = live,
            OwnershipEvent::Recorded { entry } => {
                self.own.apply(&entry);
                if let Entry::Owned { query, hold } = entry {
                    let epoch = hold.epoch();
                    for from in self.sealed.keys().cloned() {
                        self.under_way.remove(&Step::Adopt { from, query, epoch });
                    }
                    if epoch > Epoch(0) && !self.sight().rules.hold(Rule::ClaimAfterAdoption) {
                        actions.push(OwnershipAction::Own { query, epoch });
                    }
                } else if let Entry::Ended { query } = entry {
                    self.forget_unless_held(query);
                }
            }
            OwnershipEvent::Sealed { journal, standing } => {
                let sealed = Sealed {
                    unsettled: standing.queries().map(|(query, _)| query).collect(),
                    standing,
                    since: now,
                    looked_again: BTreeSet::new(),
                };
                self.sealed.entry(journal).or_insert(sealed);
            }
            OwnershipEvent::Claim { query, epoch, by } => {
                self.claimed(query, epoch, by, actions);
            }
            OwnershipEvent::Failed { step } => {
                self.under_way.remove(&step);
            }
            OwnershipEvent::Drained { journal } => self.drained(&journal),
            OwnershipEvent::Tick => {}
        }
    }

    fn claimed(
        &mut self,
        query: QueryId,
        epoch: Epoch,
        by: Option<SchedulerId>,
        actions: &mut Vec<OwnershipAction>,
    ) {
        self.under_way.remove(&Step::ReadClaim { query, epoch });
        self.under_way.remove(&Step::Claim { query, epoch });
        if epoch == Epoch(0) {
            for holder in self.sealed.keys().cloned() {
                self.under_way.remove(&Step::Submit { query, holder });
            }
        }
        if !self.is_held(query) {
            return;
        }
        if let (Known::By(first), Some(now)) = (self.claims.claim(query, epoch), &by)
            && first != now
        {
            let by = [first.clone(), now.clone()];
            actions.push(OwnershipAction::Conflict { query, epoch, by });
        }
        let hold = Hold::at(epoch);
        let before = self.sight().stance(query, hold);
        self.claims.note(query, epoch, by.clone());
        if self.own.hold(query) != Some(hold) || before != Stance::Unclaimed {
            return;
        }
        match (self.sight().stance(query, hold), by) {
            (Stance::Mine, _) => actions.push(OwnershipAction::Own { query, epoch }),
            (Stance::Lost, Some(to)) => {
                self.own.drop_query(query, epoch);
                self.forget_unless_held(query);
                actions.push(OwnershipAction::Lost { query, epoch, to });
            }
            _ => {}
        }
    }

    fn drained(&mut self, journal: &SchedulerId) {
        self.under_way.remove(&Step::Drain {
            journal: journal.clone(),
        });
        let Some(gone) = self.sealed.remove(journal) else {
            return;
        };
        for (query, _) in gone.standing.queries() {
            self.forget_unless_held(query);
        }
    }

    /// Whether one's own journal or a sealed one holds the query. Only then its claims mean anything.
    fn is_held(&self, query: QueryId) -> bool {
        let holds = |sealed: &Sealed| sealed.standing.epoch(query).is_some();
        self.own.epoch(query).is_some() || self.sealed.values().any(holds)
    }

    /// So that what is known of claims is bounded by what journals hold.
    fn forget_unless_held(&mut self, query: QueryId) {
        if !self.is_held(query) {
            self.claims.forget(query);
        }
    }

    fn advance(&mut self, touched: &Touched, now: Now, actions: &mut Vec<OwnershipAction>) {
        if self.own.sealed_by().is_some() {
            return;
        }
        let mut steps = match touched {
            Touched::Everything => self.sight().claims_to_make(),
            Touched::Query(query) => {
                let hold = self.own.hold(*query);
                let claim = hold.and_then(|hold| self.sight().claim_to_make(*query, hold));
                claim.into_iter().collect()
            }
            Touched::Nothing => Vec::new(),
        };
        let mut wake: Option<Now> = None;
        for (holder, since, needed) in self.needs(touched) {
            for step in needed {
                let due = self.due(&step, since);
                if due <= now {
                    let looks_first = due > since;
                    steps.push(self.look_first(&holder, step, looks_first));
                } else {
                    wake = Some(wake.map_or(due, |wake| wake.min(due)));
                }
            }
            let open = self.sealed.get(&holder);
            if open.is_some_and(|sealed| sealed.unsettled.is_empty()) {
                steps.push(Step::Drain { journal: holder });
            }
        }
        for step in steps {
            if self.under_way.insert(step.clone()) {
                actions.push(OwnershipAction::Take(step));
            }
        }
        if let Some(at) = wake {
            actions.push(OwnershipAction::WakeAt(at));
        }
    }

    /// For each sealed journal, the steps that what was touched of it needs. What turns out to be settled
    /// is noted.
    fn needs(&mut self, touched: &Touched) -> Vec<(SchedulerId, Now, Vec<Step>)> {
        let mut all = Vec::new();
        let mut settled = Vec::new();
        for (holder, sealed) in &self.sealed {
            if sealed.standing.sealed_by().is_none() {
                continue;
            }
            let about: Vec<QueryId> = match touched {
                Touched::Everything => sealed.unsettled.iter().copied().collect(),
                Touched::Query(query) => sealed.unsettled.get(query).copied().into_iter().collect(),
                Touched::Nothing => Vec::new(),
            };
            let mut needed = Vec::new();
            for query in about {
                let hold = sealed.standing.hold(query);
                match hold.map(|hold| self.sight().need(holder, query, hold)) {
                    None | Some(Need::Nothing) => settled.push((holder.clone(), query)),
                    Some(Need::This(step)) => needed.push(step),
                    Some(Need::Patience) => {}
                }
            }
            all.push((holder.clone(), sealed.since, needed));
        }
        for (holder, query) in settled {
            if let Some(sealed) = self.sealed.get_mut(&holder) {
                sealed.unsettled.remove(&query);
            }
        }
        all
    }

    /// An adoption that was left to others first rests on a claim that was free before their turn: whether
    /// it is by now is looked at, once. Else all survivors would write down all queries.
    fn look_first(&mut self, holder: &SchedulerId, step: Step, waited: bool) -> Step {
        let Step::Adopt { query, epoch, .. } = step else {
            return step;
        };
        let sealed = self.sealed.get_mut(holder).filter(|_| waited);
        match sealed.is_some_and(|sealed| sealed.looked_again.insert(query)) {
            true => Step::ReadClaim { query, epoch },
            false => step,
        }
    }

    /// When it is one's turn: only adoptions have an order.
    fn due(&self, step: &Step, since: Now) -> Now {
        let Step::Adopt { query, .. } = step else {
            return since;
        };
        let before = rank(*query, &self.me, &self.live);
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        since.after(self.patience.saturating_mul(before))
    }
}

fn touched_by(event: &OwnershipEvent) -> Touched {
    match event {
        OwnershipEvent::Members { .. } | OwnershipEvent::Sealed { .. } | OwnershipEvent::Tick => {
            Touched::Everything
        }
        OwnershipEvent::Claim { query, .. } => Touched::Query(*query),
        OwnershipEvent::Recorded { entry } => match entry {
            Entry::Owned { query, .. } | Entry::Ended { query } => Touched::Query(*query),
            Entry::Seal { .. } | Entry::Snapshot { .. } => Touched::Everything,
        },
        OwnershipEvent::Failed { step } => match step {
            Step::ReadClaim { query, .. }
            | Step::Submit { query, .. }
            | Step::Adopt { query, .. }
            | Step::Claim { query, .. } => Touched::Query(*query),
            Step::Drain { .. } => Touched::Nothing,
        },
        OwnershipEvent::Drained { .. } => Touched::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::ranked;
    use crate::ownership::testing::{query, scheduler};
    use OwnershipAction::{Lost, Own, Take, WakeAt};

    const T0: Now = Now(Duration::ZERO);
    const PATIENCE: Duration = Duration::from_secs(1);

    fn sealed(journal: &str, held: &[(u128, u64)]) -> OwnershipEvent {
        let mut standing = Standing::default();
        for (n, epoch) in held {
            standing.apply(&owned(*n, *epoch));
        }
        standing.apply(&Entry::Seal {
            by: scheduler("me"),
        });
        OwnershipEvent::Sealed {
            journal: scheduler(journal),
            standing,
        }
    }

    fn owned(n: u128, epoch: u64) -> Entry {
        Entry::Owned {
            query: query(n),
            hold: Hold::at(Epoch(epoch)),
        }
    }

    fn claim(n: u128, epoch: u64, by: Option<&str>) -> OwnershipEvent {
        OwnershipEvent::Claim {
            query: query(n),
            epoch: Epoch(epoch),
            by: by.map(scheduler),
        }
    }

    fn adopt(from: &str, n: u128, epoch: u64) -> OwnershipAction {
        Take(Step::Adopt {
            from: scheduler(from),
            query: query(n),
            epoch: Epoch(epoch),
        })
    }

    #[test]
    fn a_query_is_recorded_claimed_and_then_owned() {
        let mut me = Ownership::new(scheduler("me"), PATIENCE);
        let (id, first) = (query(1), Epoch(1));
        let read = Step::ReadClaim {
            query: id,
            epoch: first,
        };
        assert_eq!(me.handle(sealed("d", &[(1, 0)]), T0), [Take(read)]);
        assert_eq!(me.handle(OwnershipEvent::Tick, T0), [], "each once");
        assert_eq!(me.handle(claim(1, 1, None), T0), [adopt("d", 1, 1)]);
        let step = Step::Claim {
            query: id,
            epoch: first,
        };
        let recorded = OwnershipEvent::Recorded { entry: owned(1, 1) };
        assert_eq!(me.handle(recorded, T0), [Take(step.clone())]);
        let failed = OwnershipEvent::Failed { step: step.clone() };
        assert_eq!(me.handle(failed, T0), [Take(step)], "again");
        let drain = Take(Step::Drain {
            journal: scheduler("d"),
        });
        let own = Own {
            query: id,
            epoch: first,
        };
        assert_eq!(me.handle(claim(1, 1, Some("me")), T0), [own, drain]);
        let drained = OwnershipEvent::Drained {
            journal: scheduler("d"),
        };
        assert_eq!(me.handle(drained, T0), []);
    }

    #[test]
    fn who_loses_the_claim_drops_the_query() {
        let mut me = Ownership::new(scheduler("me"), PATIENCE);
        me.handle(sealed("d", &[(1, 0)]), T0);
        me.handle(claim(1, 1, None), T0);
        me.handle(OwnershipEvent::Recorded { entry: owned(1, 1) }, T0);
        let actions = me.handle(claim(1, 1, Some("b")), T0);
        let lost = Lost {
            query: query(1),
            epoch: Epoch(1),
            to: scheduler("b"),
        };
        assert_eq!(actions[0], lost);
        assert_eq!(me.own().queries().count(), 0);
        let none = Entry::Snapshot {
            owned: BTreeMap::new(),
        };
        assert_eq!(me.snapshot(), none);
    }

    #[test]
    fn an_adoption_without_its_claim_is_settled_at_its_epoch() {
        let mut me = Ownership::new(scheduler("me"), PATIENCE);
        me.handle(sealed("d", &[(1, 4)]), T0);
        assert_eq!(me.handle(claim(1, 4, None), T0), [adopt("d", 1, 4)]);
    }

    #[test]
    fn a_submission_is_claimed_for_its_scheduler_and_then_adopted_unless_it_was_a_copy() {
        for (winner, is_copy) in [("d", false), ("b", true)] {
            let mut me = Ownership::new(scheduler("me"), PATIENCE);
            let mut standing = Standing::default();
            standing.apply(&Entry::Owned {
                query: query(1),
                hold: Hold::Submitted,
            });
            standing.apply(&Entry::Seal {
                by: scheduler("me"),
            });
            let journal = scheduler("d");
            let sealed = OwnershipEvent::Sealed { journal, standing };
            let step = Step::Submit {
                query: query(1),
                holder: scheduler("d"),
            };
            assert_eq!(me.handle(sealed, T0), [Take(step.clone())]);
            let failed = OwnershipEvent::Failed { step: step.clone() };
            assert_eq!(me.handle(failed, T0), [Take(step)], "again");
            let next = match is_copy {
                true => Step::Drain {
                    journal: scheduler("d"),
                },
                false => Step::ReadClaim {
                    query: query(1),
                    epoch: Epoch(1),
                },
            };
            assert_eq!(me.handle(claim(1, 0, Some(winner)), T0), [Take(next)]);
        }
    }

    #[test]
    fn a_takeover_of_thousands_is_driven_to_its_end() {
        const QUERIES: u128 = 20_000;
        let mut me = Ownership::new(scheduler("me"), PATIENCE);
        let held: Vec<_> = (0..QUERIES).map(|n| (n, 0)).collect();
        let mut actions = me.handle(sealed("d", &held), T0);
        let (mut owned, mut drained) = (0, 0);
        while let Some(action) = actions.pop() {
            let event = match action {
                Take(Step::ReadClaim { query, epoch }) => {
                    let by = None;
                    OwnershipEvent::Claim { query, epoch, by }
                }
                Take(Step::Adopt { query, epoch, .. }) => {
                    let hold = Hold::at(epoch);
                    let entry = Entry::Owned { query, hold };
                    OwnershipEvent::Recorded { entry }
                }
                Take(Step::Claim { query, epoch }) => {
                    let by = Some(scheduler("me"));
                    OwnershipEvent::Claim { query, epoch, by }
                }
                Take(Step::Drain { journal }) => {
                    drained += 1;
                    OwnershipEvent::Drained { journal }
                }
                Own { .. } => {
                    owned += 1;
                    continue;
                }
                other => panic!("{other:?}"),
            };
            actions.extend(me.handle(event, T0));
        }
        assert_eq!((owned, drained), (QUERIES, 1));
    }

    #[test]
    fn each_leaves_the_first_try_to_those_before_it() {
        let live: BTreeSet<_> = ["me", "b", "c"].map(scheduler).into();
        let second = (0..100).find(|n| *ranked(query(*n), &live)[1] == scheduler("me"));
        let n = second.unwrap();
        let mut me = Ownership::new(scheduler("me"), PATIENCE);
        me.handle(OwnershipEvent::Members { live }, T0);
        me.handle(sealed("d", &[(n, 0)]), T0);
        let due = T0.after(PATIENCE);
        assert_eq!(me.handle(claim(n, 1, None), T0), [WakeAt(due)]);
        let look = Step::ReadClaim {
            query: query(n),
            epoch: Epoch(1),
        };
        let again = me.handle(OwnershipEvent::Tick, due);
        assert_eq!(again, [Take(look)], "it may be another's by now");
        assert_eq!(me.handle(claim(n, 1, None), due), [adopt("d", n, 1)]);
    }

    #[test]
    fn what_others_adopted_in_their_turn_is_not_written_down() {
        let live: BTreeSet<_> = ["me", "b"].map(scheduler).into();
        let second = (0..100).find(|n| *ranked(query(*n), &live)[1] == scheduler("me"));
        let n = second.unwrap();
        let mut me = Ownership::new(scheduler("me"), PATIENCE);
        me.handle(OwnershipEvent::Members { live }, T0);
        me.handle(sealed("d", &[(n, 0)]), T0);
        me.handle(claim(n, 1, None), T0);
        me.handle(OwnershipEvent::Tick, T0.after(PATIENCE));
        let drain = Step::Drain {
            journal: scheduler("d"),
        };
        let late = T0.after(PATIENCE);
        assert_eq!(me.handle(claim(n, 1, Some("b")), late), [Take(drain)]);
    }

    #[test]
    fn a_claim_that_changes_hands_is_told_and_the_first_one_counts() {
        let mut me = Ownership::new(scheduler("me"), PATIENCE);
        me.handle(OwnershipEvent::Recorded { entry: owned(1, 1) }, T0);
        let own = me.handle(claim(1, 1, Some("me")), T0);
        let (query, epoch) = (query(1), Epoch(1));
        assert_eq!(own, [Own { query, epoch }]);
        let by = ["me", "b"].map(scheduler);
        let conflict = OwnershipAction::Conflict { query, epoch, by };
        assert_eq!(me.handle(claim(1, 1, Some("b")), T0), [conflict]);
        assert_eq!(me.own().epoch(query), Some(epoch));
        assert_eq!(me.handle(claim(1, 1, Some("me")), T0), []);
    }

    #[test]
    fn no_claim_is_kept_of_what_no_journal_holds() {
        let mut me = Ownership::new(scheduler("me"), PATIENCE);
        let drained = || OwnershipEvent::Drained {
            journal: scheduler("d"),
        };
        // Adopted, and over after the journal that it came from.
        me.handle(sealed("d", &[(1, 0)]), T0);
        me.handle(claim(1, 1, None), T0);
        me.handle(OwnershipEvent::Recorded { entry: owned(1, 1) }, T0);
        me.handle(claim(1, 1, Some("me")), T0);
        me.handle(drained(), T0);
        assert_eq!(me.claims.len(), 1, "it is one's own");
        let entry = Entry::Ended { query: query(1) };
        me.handle(OwnershipEvent::Recorded { entry }, T0);
        assert!(me.claims.is_empty());
        // Over before that.
        me.handle(sealed("d", &[(2, 0)]), T0);
        me.handle(claim(2, 1, None), T0);
        me.handle(OwnershipEvent::Recorded { entry: owned(2, 1) }, T0);
        me.handle(claim(2, 1, Some("me")), T0);
        let entry = Entry::Ended { query: query(2) };
        me.handle(OwnershipEvent::Recorded { entry }, T0);
        assert_eq!(me.claims.len(), 1, "a sealed journal holds it");
        me.handle(drained(), T0);
        assert!(me.claims.is_empty());
        // Run afresh, and won by somebody else.
        me.handle(OwnershipEvent::Recorded { entry: owned(3, 1) }, T0);
        me.handle(claim(3, 1, Some("b")), T0);
        assert!(me.claims.is_empty());
        // A look that comes to its end when all is over.
        me.handle(claim(3, 1, Some("b")), T0);
        assert!(me.claims.is_empty());
    }

    #[test]
    fn a_fenced_scheduler_does_nothing() {
        let mut me = Ownership::new(scheduler("me"), PATIENCE);
        let by = scheduler("b");
        let entry = Entry::Seal { by };
        me.handle(OwnershipEvent::Recorded { entry }, T0);
        assert_eq!(me.handle(sealed("d", &[(1, 0)]), T0), []);
    }
}
