//! Every step that anyone may take, found by the code under test.

use paceline_core::ownership::{Entry, Hold, Rules, Sight, Stance, Standing, Step, Verdict};
use paceline_model::{Epoch, Invariant};
use stateright::{Model, Property};

use crate::world::{
    EPOCHS, Held, Journal, Name, Put, SCHEDULERS, Segment, Who, World, name, query, who,
};

/// The protocol under some rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Protocol {
    pub(crate) rules: Rules,
    /// How many schedulers may crash.
    pub(crate) crashes: u8,
    /// Whether a scheduler may append to its journal while another of its creates is under way.
    pub(crate) overlap: bool,
    /// Whether a client sends the query to schedulers 1 and 2, under a name of its own; else it is
    /// scheduler 0 that accepts it.
    pub(crate) submitted: bool,
}

impl Default for Protocol {
    fn default() -> Self {
        Protocol {
            rules: Rules::default(),
            crashes: 2,
            overlap: false,
            submitted: false,
        }
    }
}

/// One step of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Send(Put),
    /// A write arrives, however late.
    Land(Put),
    /// A write of somebody who died never arrives.
    Drop(Put),
    Crash(Who),
}

type Standings = [Standing; SCHEDULERS];

fn standings(world: &World) -> Standings {
    std::array::from_fn(|who| world.journals[who].replay().0)
}

impl Protocol {
    fn sight<'a>(&self, me: Who, world: &'a World, standings: &'a Standings) -> Sight<'a> {
        Sight {
            me: name(me),
            own: &standings[me],
            claims: world,
            rules: self.rules,
        }
    }

    fn acts(world: &World, me: Who, standings: &Standings) -> bool {
        let journal = &world.journals[me];
        world.alive[me] && !journal.drained && standings[me].sealed_by().is_none()
    }

    /// The steps that lead to an owner.
    fn recovery(&self, me: Who, world: &World, standings: &Standings, out: &mut Vec<Put>) {
        let sight = self.sight(me, world, standings);
        let mut steps = sight.claims_to_make();
        for other in (0..SCHEDULERS).filter(|other| *other != me) {
            let journal = &world.journals[other];
            if journal.drained {
                continue;
            }
            if standings[other].sealed_by().is_none() {
                let next = journal.segments.len();
                let what = Name::Segment(other, next, Segment::Seal(me));
                out.push(Put { by: me, what });
            }
            steps.extend(sight.about_sealed(name(other), &standings[other]));
        }
        let puts = steps.iter().filter_map(|step| to_put(me, world, step));
        out.extend(puts);
    }

    /// The steps of somebody who has what it needs.
    fn ordinary(&self, me: Who, world: &World, standings: &Standings, out: &mut Vec<Put>) {
        let sight = self.sight(me, world, standings);
        let segments = &world.journals[me].segments;
        let mut append = |segment| {
            let what = Name::Segment(me, segments.len(), segment);
            out.push(Put { by: me, what });
        };
        // Nobody accepts it again that drives it or drove it.
        if segments.is_empty() && self.submitted == (me > 0) {
            append(Segment::Owned(match self.submitted {
                true => Held::Submitted,
                false => Held::Accepted,
            }));
        }
        let held = standings[me].hold(query());
        if held.is_some_and(|hold| sight.stance(query(), hold) == Stance::Mine) {
            append(Segment::Ended);
        }
        let is_snapshot = |s: &Option<Segment>| matches!(s, Some(Segment::Snapshot(_)));
        if !segments.is_empty() && !segments.iter().any(is_snapshot) {
            append(Segment::of(&sight.snapshot()));
        }
    }

    fn owners(&self, world: &World) -> usize {
        let standings = standings(world);
        let owns = |me: &Who| {
            let journal = &world.journals[*me];
            let held = standings[*me].hold(query());
            let sight = self.sight(*me, world, &standings);
            let mine = held.is_some_and(|e| sight.stance(query(), e) == Stance::Mine);
            mine && !journal.drained && standings[*me].sealed_by().is_none()
        };
        (0..SCHEDULERS).filter(owns).count()
    }

    fn is_backed(&self, world: &World) -> bool {
        let standings = standings(world);
        (0..SCHEDULERS).any(|holder| {
            let Some(hold) = standings[holder].hold(query()) else {
                return false;
            };
            let sight = Sight {
                rules: Rules::ALL,
                ..self.sight(holder, world, &standings)
            };
            let verdict = sight.verdict(name(holder), query(), hold);
            !world.journals[holder].drained && verdict != Verdict::Settled
        })
    }

    /// Whether nothing is left to do that would lead to an owner.
    fn is_quiet(&self, world: &World) -> bool {
        let standings = standings(world);
        let acting: Vec<Who> = (0..SCHEDULERS)
            .filter(|me| Self::acts(world, *me, &standings))
            .collect();
        let mut puts = Vec::new();
        for me in &acting {
            self.recovery(*me, world, &standings, &mut puts);
        }
        world.flight.is_empty() && !acting.is_empty() && puts.is_empty()
    }
}

fn to_put(me: Who, world: &World, step: &Step) -> Option<Put> {
    let (epoch, what) = match step {
        Step::Adopt { query, epoch, .. } => {
            let owned = Entry::Owned {
                query: *query,
                hold: Hold::at(*epoch),
            };
            let next = world.journals[me].segments.len();
            (*epoch, Name::Segment(me, next, Segment::of(&owned)))
        }
        Step::Claim { epoch, .. } => (*epoch, Name::Claim(epoch.0 as u8, me)),
        Step::Submit { holder, .. } => (Epoch(0), Name::Claim(0, who(holder))),
        Step::Drain { journal } => (Epoch(0), Name::Drained(who(journal))),
        Step::ReadClaim { .. } => panic!("every claim is known"),
    };
    (epoch.0 <= EPOCHS as u64).then_some(Put { by: me, what })
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.crashes)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let standings = standings(world);
        for me in 0..SCHEDULERS {
            if !Self::acts(world, me, &standings) {
                continue;
            }
            if world.crashes > 0 {
                actions.push(Action::Crash(me));
            }
            let mut puts = Vec::new();
            self.ordinary(me, world, &standings, &mut puts);
            self.recovery(me, world, &standings, &mut puts);
            let busy = |append| {
                let mut mine = world.flight.iter().filter(|put| put.by == me);
                mine.any(|put| put.is_append() == append)
            };
            let (appending, creating) = (busy(true), busy(false));
            let free = |put: &Put| match (self.overlap, put.is_append()) {
                (false, _) => !appending && !creating,
                (true, true) => !appending,
                (true, false) => !creating,
            };
            actions.extend(puts.into_iter().filter(free).map(Action::Send));
        }
        for put in &world.flight {
            actions.push(Action::Land(*put));
            if !Self::acts(world, put.by, &standings) {
                actions.push(Action::Drop(*put));
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = world.clone();
        match action {
            Action::Send(put) => {
                world.flight.insert(put);
            }
            Action::Land(put) => world.land(put),
            Action::Drop(put) => {
                world.flight.remove(&put);
            }
            Action::Crash(who) => {
                world.alive[who] = false;
                world.crashes -= 1;
            }
        }
        Some(world.canonical())
    }

    /// The first three are invariants of the product: at most one owner at a time; none after the end;
    /// what was durable is backed by a journal.
    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(Invariant::OneOwner.as_str(), |it: &Self, world: &World| {
                it.owners(world) <= 1
            }),
            Property::always(
                Invariant::OneOutcome.as_str(),
                |it: &Self, world: &World| !world.ended || it.owners(world) == 0,
            ),
            Property::always(
                Invariant::NothingLost.as_str(),
                |it: &Self, world: &World| !world.accepted || world.ended || it.is_backed(world),
            ),
            Property::always(
                "somebody drives it in the end",
                |it: &Self, world: &World| {
                    let settled = !world.accepted || world.ended || it.owners(world) == 1;
                    settled || !it.is_quiet(world)
                },
            ),
            Property::sometimes("the third owner ends it", |_: &Self, world: &World| {
                world.ended && world.claims[2].is_some()
            }),
            Property::sometimes(
                "a seal takes a removed segment's place",
                |_: &Self, world: &World| world.journals.iter().any(Journal::has_ghost),
            ),
            Property::sometimes(
                "all but one journal are drained",
                |it: &Self, world: &World| {
                    let drained = world.journals.iter().filter(|j| j.drained).count();
                    drained == SCHEDULERS - 1 && it.owners(world) == 1
                },
            ),
            Property::sometimes("two adopt at the same epoch", |_: &Self, world: &World| {
                let adopted = |who: Who| {
                    let segments = &world.journals[who].segments;
                    segments.contains(&Some(Segment::Owned(Held::Adopted(1))))
                };
                adopted(1) && (adopted(2) || adopted(0))
            }),
        ]
    }
}
