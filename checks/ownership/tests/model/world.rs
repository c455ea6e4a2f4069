//! The store and the schedulers, as small as they can be and still go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use paceline_core::ownership::{Chain, Claims, Entry, Hold, Known, SegmentKind, Standing, Take};
use paceline_model::{Epoch, QueryId, SchedulerId};

pub(crate) const SCHEDULERS: usize = 3;
/// The highest epoch at which anyone adopts.
pub(crate) const EPOCHS: usize = 3;

/// A scheduler's number.
pub(crate) type Who = usize;

static NAMES: LazyLock<[SchedulerId; SCHEDULERS]> =
    LazyLock::new(|| ["a", "b", "c"].map(SchedulerId::new));

pub(crate) fn name(who: Who) -> &'static SchedulerId {
    &NAMES[who]
}

pub(crate) fn who(name: &SchedulerId) -> Who {
    NAMES.iter().position(|n| n == name).unwrap()
}

/// The one query.
pub(crate) fn query() -> QueryId {
    QueryId::from_slice(&[7; 16]).unwrap()
}

/// How a journal holds the query, in two bytes: there are millions of worlds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Held {
    Accepted,
    Submitted,
    Adopted(u8),
}

impl Held {
    fn of(hold: Hold) -> Self {
        match hold {
            Hold::Accepted => Held::Accepted,
            Hold::Submitted => Held::Submitted,
            Hold::Adopted(epoch) => Held::Adopted(epoch.0 as u8),
        }
    }

    fn hold(self) -> Hold {
        match self {
            Held::Accepted => Hold::Accepted,
            Held::Submitted => Hold::Submitted,
            Held::Adopted(epoch) => Hold::Adopted(Epoch(epoch.into())),
        }
    }
}

/// A segment; each holds one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Segment {
    Owned(Held),
    Ended,
    Seal(Who),
    Snapshot(Option<Held>),
}

impl Segment {
    pub(crate) fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Owned { hold, .. } => Segment::Owned(Held::of(*hold)),
            Entry::Ended { .. } => Segment::Ended,
            Entry::Seal { by } => Segment::Seal(who(by)),
            Entry::Snapshot { owned } => {
                Segment::Snapshot(owned.values().next().copied().map(Held::of))
            }
        }
    }

    fn entry(self) -> Entry {
        let query = query();
        match self {
            Segment::Owned(held) => Entry::Owned {
                query,
                hold: held.hold(),
            },
            Segment::Ended => Entry::Ended { query },
            Segment::Seal(by) => Entry::Seal {
                by: name(by).clone(),
            },
            Segment::Snapshot(held) => Entry::Snapshot {
                owned: held
                    .map(|held| (query, held.hold()))
                    .into_iter()
                    .collect::<BTreeMap<_, _>>(),
            },
        }
    }
}

/// One create on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Put {
    pub(crate) by: Who,
    pub(crate) what: Name,
}

/// The name that a create is for, and what it would hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Name {
    Segment(Who, usize, Segment),
    /// The claim of an epoch, for somebody.
    Claim(u8, Who),
    Drained(Who),
}

impl Put {
    /// Whether it is an append to the writer's own journal. A scheduler has one of those under way
    /// at most, and one other create beside it.
    pub(crate) fn is_append(&self) -> bool {
        matches!(self.what, Name::Segment(journal, _, _) if journal == self.by)
    }
}

/// A journal: what lies under each number. A removed segment leaves a hole that a late write may fill.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Journal {
    pub(crate) segments: Vec<Option<Segment>>,
    pub(crate) drained: bool,
}

impl Journal {
    /// What a replay makes of it, and the number of the first segment that counts.
    pub(crate) fn replay(&self) -> (Standing, usize) {
        let mut chain = Chain::default();
        let mut standing = Standing::default();
        for (seq, segment) in self.segments.iter().enumerate() {
            let Some(segment) = segment else { continue };
            let kind = match segment {
                Segment::Snapshot(_) => SegmentKind::Snapshot,
                _ => SegmentKind::Records,
            };
            match chain.offer(seq as u64, kind) {
                Take::Begin => {
                    standing = Standing::default();
                    standing.apply(&segment.entry());
                }
                Take::Follow => standing.apply(&segment.entry()),
                Take::Skip => {}
            }
        }
        assert!(self.drained || chain.next().is_ok(), "{self:?}");
        (standing, chain.base() as usize)
    }
}

impl Journal {
    /// Whether a seal lies where a segment had been removed.
    pub(crate) fn has_ghost(&self) -> bool {
        let (_, base) = self.replay();
        let before = self.segments.iter().take(base);
        !self.drained && before.flatten().any(|s| matches!(s, Segment::Seal(_)))
    }
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) journals: [Journal; SCHEDULERS],
    /// Who holds the claim of each epoch; only a submitted query has one of epoch 0.
    pub(crate) claims: [Option<Who>; EPOCHS + 1],
    pub(crate) flight: BTreeSet<Put>,
    pub(crate) alive: [bool; SCHEDULERS],
    pub(crate) crashes: u8,
    /// Whether the query was ever durable.
    pub(crate) accepted: bool,
    /// Whether it ever ended.
    pub(crate) ended: bool,
}

impl Claims for World {
    fn claim(&self, _: QueryId, epoch: Epoch) -> Known<'_> {
        let slot = self.claims.get(epoch.0 as usize).copied().flatten();
        slot.map_or(Known::Free, |by| Known::By(name(by)))
    }
}

impl World {
    pub(crate) fn new(crashes: u8) -> Self {
        World {
            journals: Default::default(),
            claims: [None; EPOCHS + 1],
            flight: BTreeSet::new(),
            alive: [true; SCHEDULERS],
            crashes,
            accepted: false,
            ended: false,
        }
    }

    /// Schedulers 1 and 2 do the same things; of two worlds that differ in their names alone, one is
    /// enough.
    pub(crate) fn canonical(self) -> Self {
        let other = self.swapped();
        let key = |world: &World| {
            let journals = world
                .journals
                .each_ref()
                .map(|j| (j.segments.clone(), j.drained));
            (journals, world.claims, world.alive, world.flight.clone())
        };
        if key(&other) < key(&self) {
            other
        } else {
            self
        }
    }

    fn swapped(&self) -> Self {
        let other = |who: Who| [0, 2, 1][who];
        let segment = |segment: Segment| match segment {
            Segment::Seal(by) => Segment::Seal(other(by)),
            same => same,
        };
        let what = |what: Name| match what {
            Name::Segment(journal, seq, record) => {
                Name::Segment(other(journal), seq, segment(record))
            }
            Name::Claim(epoch, whose) => Name::Claim(epoch, other(whose)),
            Name::Drained(journal) => Name::Drained(other(journal)),
        };
        let mut world = self.clone();
        world.journals.swap(1, 2);
        world.alive.swap(1, 2);
        for place in world.journals.iter_mut().flat_map(|j| &mut j.segments) {
            *place = place.map(segment);
        }
        world.claims = world.claims.map(|by| by.map(other));
        let flight = self.flight.iter().map(|put| Put {
            by: other(put.by),
            what: what(put.what),
        });
        world.flight = flight.collect();
        world
    }

    /// A create reaches the store: it takes the name if nobody has it.
    pub(crate) fn land(&mut self, put: Put) {
        self.flight.remove(&put);
        match put.what {
            Name::Segment(journal, seq, segment) => self.land_segment(journal, seq, segment),
            Name::Claim(epoch, whose) => {
                let slot = &mut self.claims[usize::from(epoch)];
                *slot = slot.or(Some(whose));
            }
            Name::Drained(journal) => self.drain(journal),
        }
    }

    fn land_segment(&mut self, journal: Who, seq: usize, segment: Segment) {
        let Journal { segments, .. } = &mut self.journals[journal];
        if seq == segments.len() {
            if matches!(segment, Segment::Snapshot(_)) {
                // What lies before it is removed. That this takes a while makes no difference: a
                // write to such a name loses, or lands where it means nothing.
                segments.fill(None);
            }
            segments.push(Some(segment));
            let begins = [Held::Accepted, Held::Submitted].map(Segment::Owned);
            self.accepted |= begins.contains(&segment);
            self.ended |= segment == Segment::Ended;
        } else if segments[seq].is_none() {
            segments[seq] = Some(segment);
        }
    }

    fn drain(&mut self, journal: Who) {
        let Journal { segments, drained } = &mut self.journals[journal];
        *drained = true;
        for segment in segments {
            if !matches!(segment, Some(Segment::Seal(_))) {
                *segment = None;
            }
        }
    }
}
