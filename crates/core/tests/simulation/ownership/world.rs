//! Three processes, a store whose answers are late or lost, an executor, and everything on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use paceline_core::Now;
use paceline_core::ownership::{
    Append, AppendOutcome, Entry, OwnershipAction, OwnershipEvent, Standing, Step,
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
    obeyed: BTreeMap<QueryId, (Epoch, SchedulerId)>,
    writes: u64,
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

    fn process(&self, id: &SchedulerId) -> Option<usize> {
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

    fn grant(&mut self, process: usize, wants: Vec<Want>) {
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
                let entry = Entry::Owned { query, epoch };
                self.append(process, Content::Entry(entry));
            }
            OwnershipAction::Take(step) => {
                let failed = OwnershipEvent::Failed { step: step.clone() };
                self.send(Pending::Told(by.clone(), failed), |tell| Pending::Step {
                    by: by.clone(),
                    step: step.clone(),
                    tell,
                });
            }
            OwnershipAction::Own { query, epoch } => {
                life.owns.insert(query, epoch);
                self.counts.adopted += 1;
                self.says_it_owns(by, query, epoch);
            }
            OwnershipAction::Lost { query, .. } => {
                life.lose(query);
                self.counts.lost += 1;
            }
            OwnershipAction::Conflict { .. } => panic!("{}", Invariant::OneOwner.text()),
            OwnershipAction::WakeAt(_) => {}
        }
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
            Entry::Owned { query, epoch } if epoch == Epoch(0) => {
                life.owns.insert(query, epoch);
                let by = life.id.clone();
                self.says_it_owns(by, query, epoch);
            }
            Entry::Ended { query } if !life.adopted(query) => {}
            entry => self.tell(process, OwnershipEvent::Recorded { entry }),
        }
    }

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
                if let Some(process) = self.process(&to) {
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
                Entry::Owned { query, epoch } if *epoch == Epoch(0) => {
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
                self.counts.settled += u64::from(standing.queries().any(|(_, e)| e > Epoch(0)));
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
