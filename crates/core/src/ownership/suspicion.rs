//! Who looks dead. Being wrong costs a hand-over and never a query, because what a suspect may still
//! do is decided by its journal; so a verdict may be hasty, but not silly.
//!
//! | evidence | verdict |
//! |---|---|
//! | more than half of the executors still hold a stream to it | alive |
//! | its address refuses connections, and at least half of the executors lost it | dead, at once |
//! | it has not answered for `takeover_after`, whatever its beacon does, and executors are here and not there | dead |
//! | its beacon stands still for `takeover_after` | dead |
//! | all peers look dead, by silence alone, without a word of executors | oneself is suspect first; dead after twice the time |

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use paceline_model::{ExecutorId, SchedulerId};

use crate::Now;

/// What an operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuspicionOptions {
    /// How long a beacon may stand still.
    pub takeover_after: Duration,
}

impl Default for SuspicionOptions {
    fn default() -> Self {
        SuspicionOptions {
            takeover_after: Duration::from_secs(3),
        }
    }
}

/// Something that was noticed about peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A peer is known, or was heard of again: its beacon changed, or it answered.
    Alive {
        /// The peer.
        scheduler: SchedulerId,
    },
    /// The peer was asked and answered.
    Answered {
        /// The peer.
        scheduler: SchedulerId,
    },
    /// The peer was asked, and neither answers nor refuses. It may be cut off, and still write its beacon.
    Unanswered {
        /// The peer.
        scheduler: SchedulerId,
        /// Since it last said anything.
        silence: Duration,
        /// How many executors are attached here: with none, it may be oneself that is cut off.
        executors: usize,
    },
    /// The peer's beacon was looked at and had not changed.
    Still {
        /// The peer.
        scheduler: SchedulerId,
        /// For how long, by looks that succeeded alone: an outage of the store is no silence.
        silence: Duration,
    },
    /// The peer's address refused a connection or broke one off.
    Refused {
        /// The peer.
        scheduler: SchedulerId,
    },
    /// An executor that is attached here holds a stream to the peer, or does not any more.
    Stream {
        /// The executor.
        executor: ExecutorId,
        /// The peer.
        scheduler: SchedulerId,
        /// Whether it holds one.
        held: bool,
    },
    /// An executor is gone; what it said counts no more.
    ExecutorGone {
        /// The executor.
        executor: ExecutorId,
    },
    /// The peer left, or its journal is sealed: there is nothing to suspect any more.
    Gone {
        /// The peer.
        scheduler: SchedulerId,
    },
    /// All beacons were looked at. Who has none, and has no executor that holds a stream to it, is
    /// nobody's peer any more: a journal that it left is found without suspicion.
    Beacons {
        /// Whose they are.
        of: BTreeSet<SchedulerId>,
    },
}

impl Evidence {
    /// The peer that it is about, if it is one.
    pub fn scheduler(&self) -> Option<&SchedulerId> {
        match self {
            Evidence::Alive { scheduler }
            | Evidence::Answered { scheduler }
            | Evidence::Unanswered { scheduler, .. }
            | Evidence::Still { scheduler, .. }
            | Evidence::Refused { scheduler }
            | Evidence::Stream { scheduler, .. }
            | Evidence::Gone { scheduler } => Some(scheduler),
            Evidence::ExecutorGone { .. } | Evidence::Beacons { .. } => None,
        }
    }
}

/// What is held of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing speaks against it.
    Alive,
    /// Something does, and not enough.
    Doubtful,
    /// Its journal is to be sealed.
    Dead,
}

#[derive(Debug, Default)]
struct Peer {
    silence: Duration,
    refused: Option<Now>,
    /// Of a silence that executors here are witnesses to.
    unanswered: Duration,
    /// What each executor says that has ever held a stream to it.
    streams: BTreeMap<ExecutorId, bool>,
}

impl Peer {
    fn holders(&self) -> (usize, usize) {
        let held = self.streams.values().filter(|held| **held).count();
        (held, self.streams.len())
    }

    fn mostly_held(&self) -> bool {
        let (held, all) = self.holders();
        held * 2 > all
    }

    fn confirmed(&self) -> bool {
        self.refused.is_some() && !self.streams.is_empty() && !self.mostly_held()
    }
}

/// What one scheduler holds of all others.
#[derive(Debug, Default)]
pub struct Suspicion {
    options: SuspicionOptions,
    peers: BTreeMap<SchedulerId, Peer>,
}

impl Suspicion {
    /// Nobody is known yet.
    pub fn new(options: SuspicionOptions) -> Self {
        Suspicion {
            options,
            peers: BTreeMap::new(),
        }
    }

    /// Takes in what was noticed, and says whose journals are to be sealed now.
    pub fn handle(&mut self, evidence: Evidence, now: Now) -> Vec<SchedulerId> {
        self.note(evidence, now);
        let dead = |id: &&SchedulerId| self.judge(id) == Judgement::Dead;
        self.peers.keys().filter(dead).cloned().collect()
    }

    fn note(&mut self, evidence: Evidence, now: Now) {
        match evidence {
            Evidence::Alive { scheduler } => {
                let peer = self.peers.entry(scheduler).or_default();
                peer.silence = Duration::ZERO;
                peer.refused = None;
            }
            Evidence::Answered { scheduler } => {
                let peer = self.peers.entry(scheduler).or_default();
                peer.silence = Duration::ZERO;
                peer.refused = None;
                peer.unanswered = Duration::ZERO;
            }
            Evidence::Unanswered {
                scheduler,
                silence,
                executors,
            } => {
                let peer = self.peers.entry(scheduler).or_default();
                let seen = executors > 0;
                peer.unanswered = if seen { silence } else { Duration::ZERO };
            }
            Evidence::Still { scheduler, silence } => {
                self.peers.entry(scheduler).or_default().silence = silence;
            }
            Evidence::Refused { scheduler } => {
                self.peers.entry(scheduler).or_default().refused = Some(now);
            }
            Evidence::Stream {
                executor,
                scheduler,
                held,
            } => {
                // That a stream has ended is told late, perhaps of one that is gone for good.
                if held || self.peers.contains_key(&scheduler) {
                    let peer = self.peers.entry(scheduler).or_default();
                    peer.streams.insert(executor, held);
                }
            }
            Evidence::ExecutorGone { executor } => {
                for peer in self.peers.values_mut() {
                    // Its witnesses were silent themselves: it may be oneself that nobody reaches.
                    if peer.streams.remove(&executor).is_some() && peer.streams.is_empty() {
                        peer.unanswered = Duration::ZERO;
                    }
                }
            }
            Evidence::Gone { scheduler } => {
                self.peers.remove(&scheduler);
            }
            Evidence::Beacons { of } => {
                let is_held = |peer: &Peer| peer.holders().0 > 0;
                self.peers
                    .retain(|id, peer| of.contains(id) || is_held(peer));
            }
        }
    }

    /// What is held of a peer; one that was never heard of is alive.
    pub fn judge(&self, scheduler: &SchedulerId) -> Judgement {
        let Some(peer) = self.peers.get(scheduler) else {
            return Judgement::Alive;
        };
        if peer.mostly_held() {
            return Judgement::Alive;
        }
        let patience = if self.alone() {
            self.options.takeover_after * 2
        } else {
            self.options.takeover_after
        };
        let cut_off = peer.unanswered >= self.options.takeover_after;
        if peer.confirmed() || cut_off || peer.silence >= patience {
            return Judgement::Dead;
        }
        let silence = peer.silence.max(peer.unanswered);
        if peer.refused.is_some() || silence >= self.options.takeover_after / 2 {
            return Judgement::Doubtful;
        }
        Judgement::Alive
    }

    /// Whether all peers look dead, by silence and nothing else: then it may be oneself that is cut
    /// off.
    pub fn alone(&self) -> bool {
        // Where an executor has ever held a stream to it, there is a word beside the silence.
        let silent =
            |peer: &Peer| peer.streams.is_empty() && peer.silence >= self.options.takeover_after;
        !self.peers.is_empty() && self.peers.values().all(silent)
    }

    /// The peers that are not dead, for choosing who adopts first.
    pub fn live(&self) -> BTreeSet<SchedulerId> {
        let live = |id: &&SchedulerId| self.judge(id) != Judgement::Dead;
        self.peers.keys().filter(live).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::testing::scheduler;

    const NOW: Now = Now(Duration::from_secs(9));

    fn alive(name: &str) -> Evidence {
        let scheduler = scheduler(name);
        Evidence::Alive { scheduler }
    }

    fn refused(name: &str) -> Evidence {
        let scheduler = scheduler(name);
        Evidence::Refused { scheduler }
    }

    fn still(name: &str, millis: u64) -> Evidence {
        Evidence::Still {
            scheduler: scheduler(name),
            silence: Duration::from_millis(millis),
        }
    }

    fn stream(executor: &str, name: &str, held: bool) -> Evidence {
        Evidence::Stream {
            executor: ExecutorId::new(executor),
            scheduler: scheduler(name),
            held,
        }
    }

    /// Who is dead in the end, with peers `a` and `b`.
    fn dead(evidence: Vec<Evidence>) -> Vec<String> {
        let mut suspicion = Suspicion::new(SuspicionOptions::default());
        suspicion.handle(alive("a"), NOW);
        let mut dead = suspicion.handle(alive("b"), NOW);
        for piece in evidence {
            dead = suspicion.handle(piece, NOW);
        }
        dead.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_refused_connection_confirmed_by_executors_is_enough() {
        let lost = |x| stream(x, "a", false);
        assert_eq!(dead(vec![refused("a")]), [""; 0]);
        assert_eq!(dead(vec![lost("x"), lost("y")]), [""; 0]);
        assert_eq!(dead(vec![refused("a"), lost("x")]), ["a"]);
        assert_eq!(dead(vec![lost("x"), refused("a")]), ["a"]);
        let half = vec![refused("a"), lost("x"), stream("y", "a", true)];
        assert_eq!(dead(half), ["a"]);
        let again = vec![refused("a"), alive("a"), lost("x")];
        assert_eq!(dead(again), [""; 0], "it answered since");
    }

    #[test]
    fn who_is_cut_off_is_dead_though_its_beacon_goes_on() {
        let unanswered = |millis, executors| Evidence::Unanswered {
            scheduler: scheduler("a"),
            silence: Duration::from_millis(millis),
            executors,
        };
        let lost = || stream("x", "a", false);
        assert_eq!(dead(vec![unanswered(2999, 1), lost()]), [""; 0]);
        assert_eq!(dead(vec![unanswered(3000, 1), lost()]), ["a"]);
        assert_eq!(dead(vec![unanswered(3000, 1)]), ["a"], "new ones");
        let beating = vec![unanswered(2000, 1), alive("a"), unanswered(3000, 1)];
        assert_eq!(dead(beating), ["a"], "a beacon is no answer");
        let answered = Evidence::Answered {
            scheduler: scheduler("a"),
        };
        let answers = vec![unanswered(3000, 1), answered, lost()];
        assert_eq!(dead(answers), [""; 0]);
        assert_eq!(dead(vec![unanswered(9000, 0)]), [""; 0], "nobody is here");
        let held = vec![stream("x", "a", true), unanswered(9000, 1)];
        assert_eq!(dead(held), [""; 0], "it is there for executors");
    }

    /// Executors are held for attached a while longer than they are heard of. When they are given up, they
    /// turn out to have been witnesses to nothing.
    #[test]
    fn whom_nothing_reaches_suspects_nobody_once_its_executors_are_gone_as_well() {
        let unanswered = |executors| Evidence::Unanswered {
            scheduler: scheduler("a"),
            silence: Duration::from_millis(3500),
            executors,
        };
        let gone = |x| Evidence::ExecutorGone {
            executor: ExecutorId::new(x),
        };
        let mut evidence = vec![
            stream("x", "a", true),
            stream("y", "a", true),
            unanswered(2),
            gone("x"),
            gone("y"),
        ];
        assert_eq!(dead(evidence.clone()), [""; 0]);
        evidence.push(unanswered(0));
        assert_eq!(dead(evidence.clone()), [""; 0]);
        evidence.push(unanswered(1));
        assert_eq!(dead(evidence), ["a"], "another one is here, and not there");
    }

    #[test]
    fn silence_waits() {
        assert_eq!(dead(vec![still("a", 2999)]), [""; 0]);
        assert_eq!(dead(vec![still("a", 3000)]), ["a"]);
        assert_eq!(dead(vec![still("a", 3000), alive("a")]), [""; 0]);
    }

    #[test]
    fn whom_most_executors_hold_is_not_dead() {
        let mut evidence = vec![refused("a"), still("a", 60_000)];
        evidence.push(stream("x", "a", true));
        evidence.push(stream("y", "a", true));
        evidence.push(stream("z", "a", false));
        assert_eq!(dead(evidence.clone()), [""; 0]);
        let executor = ExecutorId::new("x");
        evidence.push(Evidence::ExecutorGone { executor });
        assert_eq!(dead(evidence), ["a"], "half is not most");
    }

    #[test]
    fn when_all_look_dead_oneself_is_suspect_first() {
        let silent = |millis| vec![still("a", millis), still("b", millis)];
        assert_eq!(dead(silent(3500)), [""; 0]);
        assert_eq!(dead(silent(6000)), ["a", "b"], "it may be true after all");
        let mut frozen = silent(3500);
        frozen.push(stream("x", "a", false));
        frozen.push(stream("x", "b", false));
        assert_eq!(dead(frozen), ["a", "b"], "executors have lost them too");
        let mut confirmed = silent(3500);
        confirmed.push(refused("a"));
        confirmed.push(stream("x", "a", false));
        assert_eq!(dead(confirmed), ["a", "b"]);
    }

    /// It would be waited for with every query that it should adopt first, and remembered for ever.
    #[test]
    fn who_took_its_beacon_away_is_forgotten_unless_an_executor_reaches_it() {
        let mut suspicion = Suspicion::new(SuspicionOptions::default());
        let seen = [
            alive("a"),
            alive("b"),
            stream("x", "new", true),
            stream("x", "b", true),
            stream("x", "b", false),
        ];
        for piece in seen {
            suspicion.handle(piece, NOW);
        }
        let of = BTreeSet::from([scheduler("a")]);
        suspicion.handle(Evidence::Beacons { of }, NOW);
        assert_eq!(suspicion.live(), ["a", "new"].map(scheduler).into());
        // What was held of those that stay is held of them still.
        let of = BTreeSet::from(["a", "new"].map(scheduler));
        suspicion.handle(refused("new"), NOW);
        suspicion.handle(Evidence::Beacons { of }, NOW);
        let dead = suspicion.handle(stream("x", "new", false), NOW);
        assert_eq!(dead, [scheduler("new")]);
    }

    #[test]
    fn who_is_gone_is_not_suspected() {
        let gone = Evidence::Gone {
            scheduler: scheduler("a"),
        };
        assert_eq!(dead(vec![still("a", 5000), gone.clone()]), [""; 0]);
        // Executors notice late, and it does not take part in anything again.
        let mut suspicion = Suspicion::new(SuspicionOptions::default());
        for piece in [alive("a"), alive("b"), gone, stream("x", "a", false)] {
            suspicion.handle(piece, NOW);
        }
        assert_eq!(suspicion.live(), [scheduler("b")].into());
    }
}
