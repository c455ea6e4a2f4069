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
mod tests;
