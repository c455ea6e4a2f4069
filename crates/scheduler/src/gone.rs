//! Schedulers whose journals are known to be sealed, as far back as that is worth knowing.
//!
//! It is worth knowing of those who have a beacon, because a beacon says nothing of the journal: they
//! are told, and neither waited for nor asked. Those are never more than there are processes. Of others
//! the latest are remembered, so that one which was frozen, and beats again, is told at once.
//!
//! To forget the rest is safe. One that turns up again is taken for a peer that lives, as any that nobody
//! ever sealed: its next append tells it that its journal is over, and whoever suspects it finds the seal.

use std::collections::{BTreeSet, VecDeque};

use paceline_model::SchedulerId;

/// How many are remembered.
const REMEMBERED: usize = 1024;

/// Schedulers whose journals are known to be sealed.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    all: BTreeSet<SchedulerId>,
    /// The latest last.
    order: VecDeque<SchedulerId>,
}

impl Gone {
    pub(crate) fn insert(&mut self, scheduler: SchedulerId) {
        if self.all.insert(scheduler.clone()) {
            self.order.push_back(scheduler);
        }
    }

    pub(crate) fn contains(&self, scheduler: &SchedulerId) -> bool {
        self.all.contains(scheduler)
    }

    /// Forgets the earliest that are too many, but for those who have a beacon.
    pub(crate) fn forget(&mut self, has_beacon: impl Fn(&SchedulerId) -> bool) {
        let mut excess = self.all.len().saturating_sub(REMEMBERED);
        if excess == 0 {
            return;
        }
        let all = &mut self.all;
        self.order.retain(|scheduler| {
            let stays = excess == 0 || has_beacon(scheduler);
            if !stays {
                excess -= 1;
                all.remove(scheduler);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_and_those_with_a_beacon() {
        let id = |n: usize| SchedulerId::new(format!("s{n}"));
        let mut gone = Gone::default();
        for n in 0..REMEMBERED + 10 {
            gone.insert(id(n));
            gone.insert(id(n));
            gone.forget(|scheduler| *scheduler == id(3));
        }
        assert_eq!(gone.all.len(), REMEMBERED);
        assert_eq!(gone.order.len(), REMEMBERED);
        assert!(gone.contains(&id(3)));
        assert!(!gone.contains(&id(10)));
        assert!((11..REMEMBERED + 10).all(|n| gone.contains(&id(n))));
    }
}
