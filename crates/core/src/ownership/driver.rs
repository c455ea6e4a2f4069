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
mod tests;
