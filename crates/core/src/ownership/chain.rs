//! Which segments of a journal count.
//!
//! ```text
//!   seq     0  1  2  3  4  5  6  7  8
//!           ·  ·  ✗  S  ·  ·             S a snapshot, · records, ✗ an object without meaning
//!                    └──────── what counts
//! ```
//!
//! What lies before the last snapshot was removed, or will be; a delayed write may even put one of the
//! removed names back. From the snapshot (or segment 0) on no segment may be missing.

/// What a segment holds, as far as the chain is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentKind {
    /// It begins with a snapshot.
    Snapshot,
    /// Records that add to those before.
    Records,
}

/// What is to be done with a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Forget everything read so far and begin with this one.
    Begin,
    /// It is the next one.
    Follow,
    /// It means nothing, unless what is missing before it turns up.
    Skip,
}

/// A segment that should be there and was not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("segment {missing} is missing")]
pub struct Gap {
    /// Its number.
    pub missing: u64,
}

/// Follows the segments of one journal in ascending order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chain {
    base: u64,
    next: u64,
    broken: bool,
}

impl Chain {
    /// Judges the next segment; each is offered once, by ascending number.
    pub fn offer(&mut self, seq: u64, kind: SegmentKind) -> Take {
        let begins = kind == SegmentKind::Snapshot || seq == 0;
        if begins {
            *self = Chain {
                base: seq,
                next: seq.saturating_add(1),
                broken: false,
            };
            return Take::Begin;
        }
        if self.broken || seq != self.next {
            self.broken = true;
            return Take::Skip;
        }
        self.next = seq.saturating_add(1);
        Take::Follow
    }

    /// The first segment that counts. While it exists, no segment after it was ever removed,
    /// because removal goes upwards.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The number of the segment that comes next.
    ///
    /// # Errors
    /// [`Gap`] if what was offered is no whole journal.
    pub fn next(&self) -> Result<u64, Gap> {
        if self.broken {
            return Err(Gap { missing: self.next });
        }
        Ok(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SegmentKind::{Records, Snapshot};

    fn follow(segments: &[(u64, SegmentKind)]) -> (Vec<Take>, Result<u64, Gap>) {
        let mut chain = Chain::default();
        let takes = segments.iter().map(|(seq, kind)| chain.offer(*seq, *kind));
        (takes.collect(), chain.next())
    }

    #[test]
    fn a_whole_journal_is_followed() {
        let (takes, next) = follow(&[(0, Records), (1, Records), (2, Snapshot), (3, Records)]);
        assert_eq!(
            takes,
            [Take::Begin, Take::Follow, Take::Begin, Take::Follow]
        );
        assert_eq!(next, Ok(4));
        assert_eq!(follow(&[]).1, Ok(0));
    }

    #[test]
    fn what_a_late_write_puts_back_before_a_snapshot_means_nothing() {
        let (takes, next) = follow(&[(1, Records), (4, Records), (7, Snapshot), (8, Records)]);
        assert_eq!(takes, [Take::Skip, Take::Skip, Take::Begin, Take::Follow]);
        assert_eq!(next, Ok(9));
    }

    #[test]
    fn a_hole_is_not_passed_over() {
        let (_, next) = follow(&[(0, Records), (2, Records), (3, Records)]);
        assert_eq!(next, Err(Gap { missing: 1 }));
        assert_eq!(follow(&[(3, Records)]).1, Err(Gap { missing: 0 }));
    }
}
