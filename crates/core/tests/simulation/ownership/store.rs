//! A store of names that are created once, and what lies in it.

use std::collections::BTreeMap;

use paceline_core::ownership::{
    AppendOutcome, Chain, Claims, Entry, Hold, Known, Rules, SegmentKind, Sight, Standing, Take,
    Verdict,
};
use paceline_model::{Epoch, QueryId, SchedulerId};

/// A segment, and which write made it.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) write: u64,
    pub(crate) entries: Vec<Entry>,
}

impl Segment {
    fn sealed_by(&self) -> Option<&SchedulerId> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Seal { by } => Some(by),
            _ => None,
        })
    }

    fn kind(&self) -> SegmentKind {
        match self.entries.first() {
            Some(Entry::Snapshot { .. }) => SegmentKind::Snapshot,
            _ => SegmentKind::Records,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) segments: BTreeMap<u64, Segment>,
    pub(crate) drained: bool,
}

/// What a replay makes of a journal.
pub(crate) struct Replayed {
    pub(crate) standing: Standing,
    pub(crate) base: u64,
    /// None if a segment is missing, as while others are being removed.
    pub(crate) next: Option<u64>,
}

impl Journal {
    pub(crate) fn replay(&self) -> Replayed {
        let (mut chain, mut standing) = (Chain::default(), Standing::default());
        for (seq, segment) in &self.segments {
            match chain.offer(*seq, segment.kind()) {
                Take::Begin => standing = Standing::default(),
                Take::Follow => {}
                Take::Skip => continue,
            }
            segment
                .entries
                .iter()
                .for_each(|entry| standing.apply(entry));
        }
        Replayed {
            standing,
            base: chain.base(),
            next: chain.next().ok(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.drained && self.replay().standing.sealed_by().is_none()
    }

    /// What nobody needs once the journal is drained: all but seals.
    pub(crate) fn rest(&self) -> Option<u64> {
        let mut rest = self
            .segments
            .iter()
            .filter(|(_, s)| s.sealed_by().is_none());
        rest.next().map(|(seq, _)| *seq)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) journals: BTreeMap<SchedulerId, Journal>,
    claims: BTreeMap<(QueryId, Epoch), SchedulerId>,
    /// Writes that landed where a segment had been removed.
    pub(crate) ghosts: u64,
}

impl Claims for Store {
    fn claim(&self, query: QueryId, epoch: Epoch) -> Known<'_> {
        self.claims
            .get(&(query, epoch))
            .map_or(Known::Free, Known::By)
    }
}

impl Store {
    /// Creates a segment, and says what whoever asked finds out.
    pub(crate) fn append(
        &mut self,
        journal: &SchedulerId,
        seq: u64,
        segment: Segment,
    ) -> AppendOutcome {
        let it = self.journals.entry(journal.clone()).or_default();
        if let Some(there) = it.segments.get(&seq) {
            return match there.sealed_by() {
                _ if there.write == segment.write => AppendOutcome::Won,
                Some(by) => AppendOutcome::Sealed { by: by.clone() },
                None => AppendOutcome::Taken,
            };
        }
        if seq < it.replay().base {
            self.ghosts += 1;
        }
        it.segments.insert(seq, segment);
        AppendOutcome::Won
    }

    /// Creates a claim, and says whom it names.
    pub(crate) fn adopt(&mut self, query: QueryId, epoch: Epoch, by: &SchedulerId) -> SchedulerId {
        let claim = self.claims.entry((query, epoch));
        claim.or_insert_with(|| by.clone()).clone()
    }

    pub(crate) fn adopter(&self, query: QueryId, epoch: Epoch) -> Option<SchedulerId> {
        self.claims.get(&(query, epoch)).cloned()
    }

    /// Who owns a query, by all that is written.
    pub(crate) fn owners(&self, query: QueryId) -> Vec<(SchedulerId, Epoch)> {
        let owner = |(holder, journal): (&SchedulerId, &Journal)| {
            let hold = journal.replay().standing.hold(query)?;
            let epoch = hold.epoch();
            let mine = hold == Hold::Accepted || self.claim(query, epoch) == Known::By(holder);
            (mine && journal.is_open()).then(|| (holder.clone(), epoch))
        };
        self.journals.iter().filter_map(owner).collect()
    }

    /// Whether some journal holds a query so that it will be carried on.
    pub(crate) fn is_backed(&self, query: QueryId) -> bool {
        self.journals.iter().any(|(holder, journal)| {
            let standing = journal.replay().standing;
            let Some(hold) = standing.hold(query) else {
                return false;
            };
            let sight = Sight {
                me: holder,
                own: &standing,
                claims: self,
                rules: Rules::ALL,
            };
            !journal.drained && sight.verdict(holder, query, hold) != Verdict::Settled
        })
    }
}
