//! Judges by an observer's own clock whose beacon has stopped.
//!
//! ```text
//!   looks      ●────●────●────●─ ─ ─ ─ ─ ─ ─ ─ ─●────●────●     the store was away in between
//!   beat       7    8    8    8                 8    8    8
//!   silence    0    0    1    2                 3½   4½   5½    a gap counts for 1½ beats at most
//! ```
//!
//! Silence is what was *seen* of it: a gap between two looks, because the store was away or the
//! observer itself was stopped, counts for little, as nobody could have been heard in it. A
//! verdict is a suspicion and no more: what a suspect may still do is decided by its journal.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use paceline_model::{Incarnation, SchedulerId};

use super::{Beacon, Roster};

/// What an observer holds of a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its beacon changes, or has not been watched for long enough.
    Live,
    /// Its beacon has not changed for as many beats as are allowed.
    Gone,
}

/// What one observer has seen of all beacons. Pure: it is told the time.
#[derive(Debug, Clone)]
pub struct Liveness {
    interval: Duration,
    missed_beats: u32,
    looked: Option<Instant>,
    seen: BTreeMap<SchedulerId, Seen>,
}

#[derive(Debug, Clone)]
struct Seen {
    beacon: Option<Beacon>,
    mark: (Incarnation, u64),
    silence: Duration,
}

impl Liveness {
    /// An observer of schedulers that beat every `interval` and are gone after `missed_beats` of
    /// them (at least 1).
    pub fn new(interval: Duration, missed_beats: u32) -> Self {
        Liveness {
            interval,
            missed_beats: missed_beats.max(1),
            looked: None,
            seen: BTreeMap::new(),
        }
    }

    /// Takes in what a look at all beacons found at `now`, of any monotonic clock.
    ///
    /// A scheduler seen for the first time counts as live for the full time: how long its beacon
    /// has been lying there is not known. One whose beacon is missing (it left, or the listing
    /// lags) is silent. A look that failed is not reported here.
    pub fn observe(&mut self, roster: &Roster, now: Instant) {
        let gap = self
            .looked
            .map_or(Duration::ZERO, |then| now.saturating_duration_since(then));
        self.looked = Some(now);
        let counted = gap.min(self.interval.mul_f64(1.5));
        for seen in self.seen.values_mut() {
            seen.silence += counted;
            seen.beacon = None;
        }
        for beacon in &roster.beacons {
            let mark = (beacon.incarnation, beacon.beat);
            let seen = self
                .seen
                .entry(beacon.scheduler.clone())
                .or_insert_with(|| Seen {
                    beacon: None,
                    mark,
                    silence: Duration::ZERO,
                });
            // Any change is a sign of life: which of two writes is the later one, nobody knows.
            if seen.mark != mark {
                seen.mark = mark;
                seen.silence = Duration::ZERO;
            }
            seen.beacon = Some(beacon.clone());
        }
        let limit = self.limit();
        self.seen
            .retain(|_, seen| seen.beacon.is_some() || seen.silence < limit);
    }

    /// The verdict on a scheduler; `None` if it was never seen, or is gone with its beacon.
    pub fn verdict(&self, scheduler: &SchedulerId) -> Option<Verdict> {
        self.seen.get(scheduler).map(|seen| self.judge(seen))
    }

    /// The beacons of all schedulers that are live, in order of their names.
    pub fn live(&self) -> impl Iterator<Item = &Beacon> {
        self.with_verdict(Verdict::Live)
    }

    /// The beacons of all schedulers that are gone, in order of their names.
    pub fn gone(&self) -> impl Iterator<Item = &Beacon> {
        self.with_verdict(Verdict::Gone)
    }

    /// All schedulers that are live, in order of their names, and whether each had a beacon when it was
    /// looked last.
    pub fn counted(&self) -> impl Iterator<Item = (&SchedulerId, bool)> {
        let all = self.seen.iter();
        all.filter(move |(_, seen)| self.judge(seen) == Verdict::Live)
            .map(|(scheduler, seen)| (scheduler, seen.beacon.is_some()))
    }

    /// For how long a scheduler has been silent, if it was seen at all.
    pub fn silence(&self, scheduler: &SchedulerId) -> Option<Duration> {
        self.seen.get(scheduler).map(|seen| seen.silence)
    }

    fn with_verdict(&self, verdict: Verdict) -> impl Iterator<Item = &Beacon> {
        self.seen
            .values()
            .filter(move |seen| self.judge(seen) == verdict)
            .filter_map(|seen| seen.beacon.as_ref())
    }

    fn judge(&self, seen: &Seen) -> Verdict {
        if seen.silence < self.limit() {
            Verdict::Live
        } else {
            Verdict::Gone
        }
    }

    fn limit(&self) -> Duration {
        self.interval * self.missed_beats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Addresses;
    use uuid::Uuid;

    const BEAT: Duration = Duration::from_secs(1);

    fn beacon(name: &str, life: u128, beat: u64) -> Beacon {
        Beacon {
            scheduler: SchedulerId::new(name),
            incarnation: Incarnation(Uuid::from_u128(life)),
            addresses: Addresses {
                cluster: String::new(),
                flight: String::new(),
                http: String::new(),
            },
            zone: String::new(),
            version: String::new(),
            beat,
        }
    }

    fn roster(beacons: &[Beacon]) -> Roster {
        Roster {
            beacons: beacons.to_vec(),
            unreadable: vec![],
        }
    }

    /// Verdicts on `a` after looks at the given seconds with the given beats.
    fn verdicts(looks: &[(f64, Option<(u128, u64)>)]) -> Vec<Option<Verdict>> {
        let start = Instant::now();
        let mut liveness = Liveness::new(BEAT, 3);
        looks
            .iter()
            .map(|(at, seen)| {
                let beacons: Vec<_> = seen.iter().map(|&(l, b)| beacon("a", l, b)).collect();
                liveness.observe(&roster(&beacons), start + Duration::from_secs_f64(*at));
                liveness.verdict(&SchedulerId::new("a"))
            })
            .collect()
    }

    const LIVE: Option<Verdict> = Some(Verdict::Live);
    const GONE: Option<Verdict> = Some(Verdict::Gone);

    #[test]
    fn a_counter_that_stops_is_noticed_and_forgiven() {
        let b = |beat| Some((1, beat));
        assert_eq!(
            verdicts(&[
                (0.0, b(1)),
                (1.0, b(2)),
                (2.0, b(2)),
                (4.0, b(2)),
                (4.9, b(2)),
                (5.5, b(2)),
                (6.0, b(3)),
            ]),
            // From 2 to 4 only 1.5 beats count.
            [LIVE, LIVE, LIVE, LIVE, GONE, GONE, LIVE]
        );
    }

    #[test]
    fn what_lay_there_before_gets_the_full_time() {
        let b = Some((1, 900));
        assert_eq!(
            verdicts(&[(0.0, b), (1.0, b), (2.0, b), (2.9, b), (3.0, b)]),
            [LIVE, LIVE, LIVE, LIVE, GONE]
        );
    }

    #[test]
    fn an_outage_of_the_store_makes_nobody_gone() {
        let b = |beat| Some((1, beat));
        assert_eq!(
            verdicts(&[(0.0, b(1)), (1.0, b(2)), (600.0, b(2)), (601.0, b(3))]),
            [LIVE; 4]
        );
    }

    #[test]
    fn any_change_is_a_sign_of_life() {
        let a = Some((1, 5));
        let backwards = Some((1, 4));
        let reborn = Some((2, 4));
        assert_eq!(
            verdicts(&[
                (0.0, a),
                (1.0, a),
                (2.0, backwards),
                (3.0, backwards),
                (4.0, reborn),
                (5.0, reborn),
                (6.0, reborn),
                (7.0, reborn),
            ]),
            [LIVE, LIVE, LIVE, LIVE, LIVE, LIVE, LIVE, GONE]
        );
    }

    #[test]
    fn who_left_is_forgotten_after_the_full_time() {
        let a = Some((1, 5));
        assert_eq!(
            verdicts(&[(0.0, a), (1.0, None), (2.0, None), (3.0, None)]),
            [LIVE, LIVE, LIVE, None]
        );
    }

    #[test]
    fn the_live_and_the_gone_are_told_apart() {
        let start = Instant::now();
        let mut liveness = Liveness::new(BEAT, 2);
        for second in 0..4u32 {
            let beacons = [beacon("a", 1, second.into()), beacon("b", 1, 7)];
            liveness.observe(&roster(&beacons), start + BEAT * second);
        }
        let names = |beacons: Vec<&Beacon>| -> Vec<String> {
            beacons.iter().map(|b| b.scheduler.to_string()).collect()
        };
        assert_eq!(names(liveness.live().collect()), ["a"]);
        assert_eq!(names(liveness.gone().collect()), ["b"]);
        liveness.observe(&roster(&[]), start + BEAT * 4);
        let counted: Vec<_> = liveness.counted().collect();
        assert_eq!(counted, [(&SchedulerId::new("a"), false)]);
    }
}
