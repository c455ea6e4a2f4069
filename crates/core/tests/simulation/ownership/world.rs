//! Three processes, a store whose answers are late or lost, an executor, and everything on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use paceline_core::Now;
use paceline_core::ownership::{
    Append, AppendOutcome, Entry, Hold, OwnershipAction, OwnershipEvent, Stance, Step, claimed,
};
use paceline_model::{Epoch, Invariant, QueryId, SchedulerId};

use super::life::{Content, Life, Want};
use super::store::{Segment, Store};
use crate::rng::Rng;

pub(crate) const PROCESSES: usize = 3;

/// Something on its way. `tell` is who still waits for the answer.
#[derive(Debug, Clone)]
pub(crate) enum Pending {
    Append {
        journal: SchedulerId,
        seq: u64,
        segment: Segment,
        tell: bool,
    },
    Appended(SchedulerId, AppendOutcome),
    Step {
        by: SchedulerId,
        step: Step,
        tell: bool,
    },
    Told(SchedulerId, OwnershipEvent),
    Seal {
        by: SchedulerId,
        journal: SchedulerId,
    },
    Truncate(SchedulerId, u64),
    Clear(SchedulerId),
    Command(SchedulerId, QueryId, Epoch),
}

impl Pending {
    /// Whether it is a write whose answer nobody waits for.
    pub(crate) fn is_forgotten(&self) -> bool {
        matches!(self, Pending::Append { tell: false, .. })
    }
}

/// How often things happened that a run is for.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) adopted: u64,
    pub(crate) lost: u64,
    pub(crate) fenced: u64,
    pub(crate) refused: u64,
    pub(crate) late: u64,
    pub(crate) ended: u64,
    pub(crate) drained: u64,
    pub(crate) crashes: u64,
    pub(crate) removed: u64,
    pub(crate) settled: u64,
    /// Submissions that another one had accepted before.
    pub(crate) copies: u64,
    /// Claims that were made for somebody whose journal was sealed.
    pub(crate) completed: u64,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: Now,
    pub(crate) store: Store,
    pub(crate) lives: [Option<Life>; PROCESSES],
    pub(crate) pending: Vec<Pending>,
    pub(crate) accepted: BTreeSet<QueryId>,
    pub(crate) ended: BTreeSet<QueryId>,
    pub(crate) counts: Counts,
    /// Whether answers are lost and writes late.
    pub(crate) faults: bool,
    /// Who ever said that it owns a query at an epoch.
    owned: BTreeMap<(QueryId, Epoch), SchedulerId>,
    /// What an executor has seen: the highest epoch, and whose it is.
    pub(super) obeyed: BTreeMap<QueryId, (Epoch, SchedulerId)>,
    pub(super) writes: u64,
    born: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = World {
            rng: Rng::new(seed),
            now: Now(Duration::ZERO),
            store: Store::default(),
            lives: Default::default(),
            pending: Vec::new(),
            accepted: BTreeSet::new(),
            ended: BTreeSet::new(),
            counts: Counts::default(),
            faults: true,
            owned: BTreeMap::new(),
            obeyed: BTreeMap::new(),
            writes: 0,
            born: 0,
        };
        (0..PROCESSES).for_each(|process| world.start(process));
        world
    }

    /// A process begins under a new id, and looks for journals that nobody writes.
    pub(crate) fn start(&mut self, process: usize) {
        self.born += 1;
        let id = SchedulerId::new(format!("s{}", self.born));
        self.lives[process] = Some(Life::new(id.clone()));
        for journal in self.ownerless() {
            self.suspect(process, journal);
        }
    }

    pub(crate) fn ownerless(&self) -> Vec<SchedulerId> {
        let undrained = self.store.journals.iter().filter(|(_, it)| !it.drained);
        let lives: Vec<&SchedulerId> = self.lives.iter().flatten().map(|life| &life.id).collect();
        let gone = undrained.filter(|(id, _)| !lives.contains(id));
        gone.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn process(&self, id: &SchedulerId) -> Option<usize> {
        let is = |life: &Option<Life>| life.as_ref().is_some_and(|life| life.id == *id);
        self.lives.iter().position(is)
    }

    /// A life believes that another one is dead, rightly or not.
    pub(crate) fn suspect(&mut self, process: usize, journal: SchedulerId) {
        if let Some(life) = &mut self.lives[process]
            && life.id != journal
            && life.sealing.insert(journal.clone())
        {
            let by = life.id.clone();
            self.pending.push(Pending::Seal { by, journal });
        }
    }

    pub(crate) fn append(&mut self, process: usize, content: Content) {
        self.writes += 1;
        let due = self
            .now
            .after(Duration::from_millis(self.rng.below(100) as u64));
        let (now, write) = (self.now, self.writes);
        if let Some(life) = &mut self.lives[process] {
            let wants = life.append(content, due, now, write);
            self.grant(process, wants);
        }
    }

    pub(crate) fn tick(&mut self, process: usize) {
        self.writes += 1;
        let (now, write) = (self.now, self.writes);
        if let Some(life) = &mut self.lives[process] {
            let mut wants = life.feed(Append::Tick, now, write);
            wants.extend(life.tell(OwnershipEvent::Tick, now));
            self.grant(process, wants);
        }
    }

    pub(crate) fn tell(&mut self, process: usize, event: OwnershipEvent) {
        let now = self.now;
        if let Some(life) = &mut self.lives[process] {
            let wants = life.tell(event, now);
            self.grant(process, wants);
        }
    }

    pub(crate) fn crash(&mut self, process: usize) {
        self.counts.crashes += u64::from(self.lives[process].take().is_some());
    }

    pub(super) fn grant(&mut self, process: usize, wants: Vec<Want>) {
        for want in wants {
            let Some(life) = &self.lives[process] else {
                return;
            };
            let id = life.id.clone();
            match want {
                Want::Send(seq, segment) => {
                    let unknown = Pending::Appended(id.clone(), AppendOutcome::Unknown);
                    let journal = id;
                    self.send(unknown, |tell| Pending::Append {
                        journal: journal.clone(),
                        seq,
                        segment: segment.clone(),
                        tell,
                    });
                }
                Want::Act(action) => self.act(process, action),
                Want::Durable(entry) => self.durable(process, entry),
                Want::Truncate(below) => self.pending.push(Pending::Truncate(id, below)),
                Want::Closed => {
                    self.counts.fenced += 1;
                    self.start(process);
                    return;
                }
            }
        }
    }

    /// A request goes out: it is answered, or its answer is lost, and it lands later or never.
    fn send(&mut self, unknown: Pending, request: impl Fn(bool) -> Pending) {
        let fault = if self.faults { self.rng.below(10) } else { 9 };
        match fault {
            0 => self.pending.push(unknown),
            1 | 2 => {
                self.counts.late += 1;
                self.pending.extend([unknown, request(false)]);
            }
            _ => self.pending.push(request(true)),
        }
    }

    fn act(&mut self, process: usize, action: OwnershipAction) {
        let Some(life) = &mut self.lives[process] else {
            return;
        };
        let by = life.id.clone();
        match action {
            OwnershipAction::Take(Step::Adopt { query, epoch, .. }) => {
                let hold = Hold::at(epoch);
                let entry = Entry::Owned { query, hold };
                self.append(process, Content::Entry(entry));
            }
            OwnershipAction::Take(step) => self.take(&by, &step),
            OwnershipAction::Own { query, epoch } => {
                life.own(query, epoch);
                self.counts.adopted += 1;
                self.says_it_owns(by, query, epoch);
            }
            OwnershipAction::Lost { query, epoch, .. } => {
                life.lose(query, epoch);
                self.counts.lost += 1;
            }
            OwnershipAction::Conflict { .. } => panic!("{}", Invariant::OneOwner.text()),
            OwnershipAction::WakeAt(_) => {}
        }
    }

    fn take(&mut self, by: &SchedulerId, step: &Step) {
        let failed = OwnershipEvent::Failed { step: step.clone() };
        self.send(Pending::Told(by.clone(), failed), |tell| Pending::Step {
            by: by.clone(),
            step: step.clone(),
            tell,
        });
    }

    /// The claim of a submission that is in one's own journal: it is made until it is known whom it
    /// names. False if this is about something else.
    pub(super) fn submitted(&mut self, process: usize, event: &OwnershipEvent) -> bool {
        let Some(life) = &mut self.lives[process] else {
            return false;
        };
        let id = life.id.clone();
        match event {
            OwnershipEvent::Failed { step } => match step {
                Step::Submit { holder, .. } if *holder == id => self.take(&id, step),
                _ => return false,
            },
            OwnershipEvent::Claim { query, epoch, by } if *epoch == Epoch(0) => {
                if !life.unclaimed.remove(query) {
                    return false;
                }
                if claimed(&id, by.as_ref().expect("it was made")) == Stance::Mine {
                    life.own(*query, *epoch);
                    self.says_it_owns(id, *query, *epoch);
                } else {
                    life.lose(*query, *epoch);
                    self.counts.copies += 1;
                }
            }
            _ => return false,
        }
        true
    }

    fn says_it_owns(&mut self, by: SchedulerId, query: QueryId, epoch: Epoch) {
        let first = self.owned.entry((query, epoch));
        let first = first.or_insert_with(|| by.clone()).clone();
        assert_eq!(first, by, "{}", Invariant::OneOwner.text());
        self.pending.push(Pending::Command(by, query, epoch));
    }

    fn durable(&mut self, process: usize, entry: Entry) {
        let Some(life) = &mut self.lives[process] else {
            return;
        };
        match entry {
            Entry::Owned {
                query,
                hold: Hold::Accepted,
            } => {
                life.own(query, Epoch(0));
                let by = life.id.clone();
                self.says_it_owns(by, query, Epoch(0));
            }
            Entry::Owned {
                query,
                hold: Hold::Submitted,
            } => {
                life.unclaimed.insert(query);
                let holder = life.id.clone();
                self.take(&holder.clone(), &Step::Submit { query, holder });
            }
            Entry::Ended { query } if !life.adopted(query) => {}
            entry => self.tell(process, OwnershipEvent::Recorded { entry }),
        }
    }

    /// A life sends one more command for something that it believes to own.
    pub(crate) fn command(&mut self, process: usize) {
        if let Some(life) = &self.lives[process] {
            let by = life.id.clone();
            let owned: Vec<_> = life.owns.iter().map(|(q, e)| (*q, *e)).collect();
            if let Some((query, epoch)) = self.rng.pick(&owned).copied() {
                self.pending.push(Pending::Command(by, query, epoch));
            }
        }
    }

    /// What must be true at any time.
    pub(crate) fn check(&self) {
        for query in &self.accepted {
            let owners = self.store.owners(*query);
            assert!(
                owners.len() <= 1,
                "{}: {owners:?}",
                Invariant::OneOwner.text()
            );
            if self.ended.contains(query) {
                assert!(owners.is_empty(), "{}", Invariant::OneOutcome.text());
            } else {
                let backed = self.store.is_backed(*query);
                assert!(backed, "{}: {query}", Invariant::NothingLost.text());
            }
        }
    }
}
