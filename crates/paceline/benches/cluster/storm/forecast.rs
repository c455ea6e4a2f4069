//! What will be done, drawn from a seed.

use std::fmt;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

/// Schedulers, and as many executors.
pub(crate) const COUNT: usize = 3;

/// Where a query has come to when it is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its client sends the statement. Whether that has arrived nobody knows.
    Sending,
    /// It was accepted a moment ago.
    Accepted,
    /// It is in its owner's journal.
    Journaled,
    /// Tasks of it run.
    Running,
    /// An output of it is complete, and not all are.
    Committed,
    /// Its owner was struck, and the owner's journal was sealed.
    Sealed,
    /// Its owner was struck, and another scheduler claimed it.
    Adopted,
    /// Its client has read a part of the result.
    Reading,
}

/// How often a strike is drawn for a round.
const DRAWS: usize = 20;

/// What the seed is mixed with for drawing which rounds write.
const WRITES: u64 = 0x0077_7269_7465_0000;

/// So many rounds of a deck are left as they were drawn, so that a seed which is played for its first
/// rounds alone goes on showing what it is there for.
const LEFT: usize = 2;

const STEPS: [Step; 8] = [
    Step::Sending,
    Step::Accepted,
    Step::Journaled,
    Step::Running,
    Step::Committed,
    Step::Sealed,
    Step::Adopted,
    Step::Reading,
];

impl Step {
    /// Whether the owner is struck before the step, to bring a takeover about.
    pub(crate) fn is_takeover(self) -> bool {
        matches!(self, Step::Sealed | Step::Adopted)
    }
}

/// How a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over Flight SQL, with its ticket.
    Flight,
    /// `POST /v1/sql` with an `Idempotency-Key`.
    Named,
    /// `POST /v1/queries` with an `Idempotency-Key`; the result later.
    Submitted,
    /// An `INSERT` over `POST /v1/sql`, with an `Idempotency-Key`.
    Written,
}

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL; started again after the round.
    Kill,
    /// SIGKILL; started again at once.
    KillAndRestart,
    /// SIGSTOP; SIGCONT once it was felt.
    Freeze,
    /// All connections to it are cut once.
    Cut,
    /// Nobody can connect to it until that was felt.
    CutOff,
    /// Its connections stay open, and nothing comes through until that was felt.
    Stall,
}

impl Blow {
    /// Whether the process is gone after it.
    pub(crate) fn kills(self) -> bool {
        matches!(self, Blow::Kill | Blow::KillAndRestart)
    }
}

/// Whom it is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The scheduler that drives the query; where nobody does, one that is alive.
    Owner,
    /// Another scheduler.
    OtherScheduler,
    /// Every scheduler.
    AllSchedulers,
    /// The executor of that number.
    Executor(usize),
    /// Every executor.
    AllExecutors,
}

/// One of the faults of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strike {
    pub(crate) blow: Blow,
    pub(crate) target: Target,
}

/// One query and its faults.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Round {
    pub(crate) way: Way,
    /// The scheduler that the client asks first.
    pub(crate) entry: usize,
    pub(crate) step: Step,
    /// Before the step, to bring a takeover about.
    pub(crate) opening: Option<Strike>,
    /// At the step, all together.
    pub(crate) strikes: Vec<Strike>,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at scheduler {}", self.way, self.entry + 1)?;
        if let Some(opening) = &self.opening {
            write!(f, ", {opening}")?;
        }
        write!(f, ", {:?}:", self.step)?;
        for strike in &self.strikes {
            write!(f, " {strike};")?;
        }
        Ok(())
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.blow, self.target)
    }
}

/// So many rounds. Steps are dealt from a shuffled deck, so that eight rounds have them all, and in one
/// of the eight the statement that is struck writes.
pub(crate) fn draw(seed: u64, rounds: usize) -> Vec<Round> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut deck: Vec<Step> = Vec::new();
    // Whole decks, so that the first rounds are the same however many are played.
    let whole = rounds.next_multiple_of(STEPS.len());
    let mut drawn = Vec::with_capacity(whole);
    while drawn.len() < whole {
        if deck.is_empty() {
            deck = STEPS.to_vec();
            deck.shuffle(&mut dice);
        }
        if let Some(step) = deck.pop() {
            drawn.push(round(step, &mut dice));
        }
    }
    let mut dice = StdRng::seed_from_u64(seed ^ WRITES);
    for deck in drawn.chunks_mut(STEPS.len()) {
        // A count of rows is not read in parts.
        let able: Vec<usize> = (LEFT..deck.len())
            .filter(|at| deck[*at].step != Step::Reading)
            .collect();
        if let Some(at) = able.choose(&mut dice) {
            deck[*at].way = Way::Written;
        }
    }
    drawn.truncate(rounds);
    drawn
}

fn round(step: Step, dice: &mut StdRng) -> Round {
    let ways = [(Way::Flight, 2), (Way::Named, 1), (Way::Submitted, 2)];
    let way = weighted(&ways, dice);
    let opening = step.is_takeover().then(|| Strike {
        blow: weighted(&[(Blow::Kill, 3), (Blow::Freeze, 1)], dice),
        target: Target::Owner,
    });
    let count = weighted(&[(1, 6), (2, 3), (3, 1)], dice);
    let mut strikes: Vec<Strike> = Vec::new();
    // Where everything is struck already, nothing more fits.
    for _ in 0..DRAWS {
        let strike = strike(dice);
        if strikes.len() < count && fits(strike, &strikes, opening.is_some()) {
            strikes.push(strike);
        }
    }
    Round {
        way,
        entry: dice.random_range(0..COUNT),
        step,
        opening,
        strikes,
    }
}

fn strike(dice: &mut StdRng) -> Strike {
    let executor = Target::Executor(dice.random_range(0..COUNT));
    let targets = [
        (Target::Owner, 5),
        (Target::OtherScheduler, 2),
        (executor, 5),
        (Target::AllSchedulers, 1),
        (Target::AllExecutors, 1),
    ];
    let target = weighted(&targets, dice);
    let blows = [
        (Blow::Kill, 5),
        (Blow::KillAndRestart, 2),
        (Blow::Freeze, 3),
        (Blow::Cut, 2),
        (Blow::CutOff, 1),
        (Blow::Stall, 1),
    ];
    let blow = weighted(&blows, dice);
    let all = matches!(target, Target::AllSchedulers | Target::AllExecutors);
    let blow = if all { Blow::KillAndRestart } else { blow };
    Strike { blow, target }
}

/// Whether at least one scheduler and one executor stay as they are, unless all are struck at once.
fn fits(strike: Strike, others: &[Strike], opened: bool) -> bool {
    let is_scheduler = |target| !matches!(target, Target::Executor(_) | Target::AllExecutors);
    let mut same = others
        .iter()
        .filter(|other| is_scheduler(other.target) == is_scheduler(strike.target));
    let count = same.clone().count() + 1;
    let all = |target| matches!(target, Target::AllSchedulers | Target::AllExecutors);
    let alone = !all(strike.target) || count == 1;
    let fresh = same.all(|other| other.target != strike.target && !all(other.target));
    let opened = usize::from(opened && is_scheduler(strike.target) && !all(strike.target));
    alone && fresh && count + opened < COUNT
}

fn weighted<T: Copy>(choices: &[(T, u32)], dice: &mut StdRng) -> T {
    let picked = choices.choose_weighted(dice, |(_, weight)| *weight);
    picked.expect("the weights are constants above zero").0
}
