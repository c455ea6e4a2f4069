//! Rounds that are drawn by hand: few enough to be played for every change. At each step, each kind of
//! fault strikes a scheduler and an executor, in this company or that; what else may come together is
//! left to seeds.

use super::forecast::Blow::{Cut, CutOff, Freeze, Kill, KillAndRestart, Stall};
use super::forecast::Step::{
    Accepted, Adopted, Committed, Journaled, Reading, Running, Sealed, Sending,
};
use super::forecast::Target::{AllExecutors, Executor, OtherScheduler, Owner};
use super::forecast::Way::{Flight, Named, Submitted, Written};
use super::forecast::{Blow, Round, Step, Strike, Target, Way, draw};

/// Schedulers that start in the middle of a takeover see the beacon of a dead one, and then that it is
/// gone: they must not take that for its word that there is no such query. The first rounds of this seed
/// have all schedulers do so.
const ALL_START_AGAIN: (u64, usize) = (100, 2);

/// How a client asks, and whom; and what is struck at which step.
type Line = (Way, usize, Step, &'static [(Blow, Target)]);

/// Stored results are kept for a while, so those whose queries leave some come first. A takeover begins
/// with its owner killed.
const LINES: [Line; 15] = [
    (
        Submitted,
        2,
        Accepted,
        &[
            (CutOff, Owner),
            (KillAndRestart, Executor(1)),
            (Freeze, Executor(2)),
        ],
    ),
    (
        Submitted,
        0,
        Journaled,
        &[(Kill, Owner), (Freeze, Executor(0)), (Cut, Executor(1))],
    ),
    (Submitted, 1, Running, &[(Kill, Owner)]),
    (
        Submitted,
        0,
        Adopted,
        &[
            (Freeze, Owner),
            (CutOff, Executor(0)),
            (Cut, OtherScheduler),
            (Freeze, Executor(1)),
        ],
    ),
    (
        Submitted,
        2,
        Reading,
        &[
            (Freeze, Owner),
            (CutOff, OtherScheduler),
            (Freeze, Executor(1)),
        ],
    ),
    (
        Flight,
        1,
        Sending,
        &[
            (Kill, Owner),
            (Stall, Executor(0)),
            (KillAndRestart, Executor(1)),
        ],
    ),
    (
        Named,
        0,
        Sending,
        &[
            (Freeze, Owner),
            (Cut, OtherScheduler),
            (Freeze, Executor(2)),
        ],
    ),
    (
        Written,
        1,
        Accepted,
        &[
            (Kill, Owner),
            (Freeze, OtherScheduler),
            (Stall, Executor(0)),
        ],
    ),
    (
        Flight,
        1,
        Journaled,
        &[
            (KillAndRestart, AllExecutors),
            (Freeze, Owner),
            (CutOff, OtherScheduler),
        ],
    ),
    (
        Flight,
        0,
        Running,
        &[
            (Freeze, Owner),
            (Cut, Executor(2)),
            (CutOff, OtherScheduler),
            (KillAndRestart, Executor(0)),
            (Freeze, Executor(1)),
        ],
    ),
    (Flight, 2, Running, &[(Stall, Owner)]),
    (
        Flight,
        2,
        Committed,
        &[(Freeze, Executor(0)), (Kill, Owner), (CutOff, Executor(1))],
    ),
    (
        Named,
        1,
        Committed,
        &[
            (CutOff, Owner),
            (Freeze, OtherScheduler),
            (KillAndRestart, Executor(2)),
        ],
    ),
    (
        Named,
        0,
        Sealed,
        &[
            (Freeze, OtherScheduler),
            (CutOff, Executor(1)),
            (Cut, OtherScheduler),
            (Freeze, Executor(0)),
        ],
    ),
    (
        Flight,
        1,
        Reading,
        &[
            (KillAndRestart, Owner),
            (KillAndRestart, Executor(0)),
            (Cut, Executor(2)),
        ],
    ),
];

/// All of them.
pub(crate) fn rounds() -> Vec<Round> {
    let (seed, count) = ALL_START_AGAIN;
    let mut rounds = draw(seed, count);
    rounds.extend(LINES.map(round));
    rounds
}

fn round((way, entry, step, struck): Line) -> Round {
    let strike = |(blow, target): &(Blow, Target)| Strike {
        blow: *blow,
        target: *target,
    };
    Round {
        way,
        entry,
        step,
        opening: step.is_takeover().then_some(Strike {
            blow: Kill,
            target: Owner,
        }),
        strikes: struck.iter().map(strike).collect(),
    }
}
