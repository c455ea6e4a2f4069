//! What must hold whatever happens, named once.
//!
//! The model checker's properties, the simulations and the counter
//! `paceline_invariant_violations_total` of a scheduler all speak of these.

/// A promise that no fault may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// An answer equals that of one process.
    SameAnswer,
    /// What was acknowledged takes effect once.
    ExactlyOnce,
    /// One owner's commands take effect.
    OneOwner,
    /// A query has one outcome.
    OneOutcome,
    /// Clocks decide nothing.
    NoClock,
    /// No query is lost.
    NothingLost,
    /// Nothing is left behind for good.
    NothingLeft,
    /// Bad input ends in an error.
    NoPanic,
}

impl Invariant {
    /// All of them, in the order of ARCHITECTURE.md.
    pub const ALL: [Invariant; 8] = [
        Invariant::SameAnswer,
        Invariant::ExactlyOnce,
        Invariant::OneOwner,
        Invariant::OneOutcome,
        Invariant::NoClock,
        Invariant::NothingLost,
        Invariant::NothingLeft,
        Invariant::NoPanic,
    ];

    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Invariant::SameAnswer => "same_answer",
            Invariant::ExactlyOnce => "exactly_once",
            Invariant::OneOwner => "one_owner",
            Invariant::OneOutcome => "one_outcome",
            Invariant::NoClock => "no_clock",
            Invariant::NothingLost => "nothing_lost",
            Invariant::NothingLeft => "nothing_left",
            Invariant::NoPanic => "no_panic",
        }
    }

    /// What it says.
    pub fn text(self) -> &'static str {
        match self {
            Invariant::SameAnswer => {
                "an answer equals that of a single DataFusion process on the same data, whatever dies \
                 meanwhile"
            }
            Invariant::ExactlyOnce => {
                "an acknowledged submission or write takes effect exactly once, whichever schedulers \
                 saw it"
            }
            Invariant::OneOwner => {
                "at most one owner's commands take effect for a query at a time: the highest epoch \
                 wins, and names one scheduler"
            }
            Invariant::OneOutcome => {
                "a query ends in exactly one outcome, and every client that asks sees that one"
            }
            Invariant::NoClock => {
                "correctness never depends on clocks or timeouts; only speed does"
            }
            Invariant::NothingLost => {
                "no query that is durable is lost while a scheduler, slots and the object store remain"
            }
            Invariant::NothingLeft => {
                "memory, disk and object-store garbage are bounded: what a query leaves goes after it \
                 ends"
            }
            Invariant::NoPanic => {
                "bad input never panics a process: it gets an error that names what is wrong"
            }
        }
    }
}

impl std::fmt::Display for Invariant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
