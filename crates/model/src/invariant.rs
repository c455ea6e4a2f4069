//! What must hold whatever happens, named once.
//!
//! The model checker's properties, the simulations and the counter
//! `paceline_invariant_violations_total` of a scheduler all speak of these. Each says where a scheduler
//! that serves can see it broken, or why none can; the counter of one that none can see stays 0.

/// A promise that no fault may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// An answer equals that of one process.
    ///
    /// No scheduler can see it broken: nobody else has the answer. Tests compare with one process.
    SameAnswer,
    /// What was acknowledged takes effect once.
    ///
    /// Seen broken when the log of the catalog has two writes of one query, or says that a query wrote
    /// other rows than its outcome says.
    ExactlyOnce,
    /// One owner's commands take effect.
    ///
    /// Seen broken when a claim names two schedulers, one after the other, or another process writes
    /// into this one's journal. That executors obey no lower epoch, tests see.
    OneOwner,
    /// A query has one outcome.
    ///
    /// Seen broken when the outcome that a query has was made in this owner's epoch by another one.
    OneOutcome,
    /// Clocks decide nothing.
    ///
    /// No process can see it broken: it would take a run with other clocks to compare with. The model
    /// checker has no clocks, and the simulations let time pass as they please.
    NoClock,
    /// No query is lost.
    ///
    /// Seen broken when a query is to be adopted, or was, of which no journal says what it is. Of one
    /// that is in no journal and no claim any more, nobody knows that it was there.
    NothingLost,
    /// Nothing is left behind for good.
    ///
    /// Seen broken when slots, executors or places are held for queries, and the last query has gone.
    /// What lies in the object store and on disks, tests look through.
    NothingLeft,
    /// Bad input ends in an error.
    ///
    /// Seen broken when work of a scheduler's own panics. A panic in the engine is caught where it
    /// happens, and is the query's error.
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
