//! Accounting for the memory of outputs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prometheus::IntGauge;

/// The memory of all outputs of a store.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: u64,
    used: AtomicU64,
    gauge: IntGauge,
}

impl MemoryBudget {
    pub(crate) fn new(limit: u64, gauge: IntGauge) -> Self {
        MemoryBudget {
            limit,
            used: AtomicU64::new(0),
            gauge,
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn try_add(&self, bytes: u64, limit: u64) -> bool {
        let added = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|total| *total <= limit)
            });
        if added.is_ok() {
            self.gauge.add(signed(bytes));
        }
        added.is_ok()
    }

    fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.gauge.add(signed(bytes));
    }

    fn is_exceeded(&self) -> bool {
        self.used() > self.limit
    }

    fn remove(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.gauge.sub(signed(bytes));
    }
}

pub(crate) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The part of the budget that one output uses.
#[derive(Debug)]
pub(crate) struct Account {
    budget: Arc<MemoryBudget>,
    used: AtomicU64,
    /// Whether it ever took more than was left.
    overdrawn: AtomicBool,
}

impl Account {
    pub(crate) fn new(budget: Arc<MemoryBudget>) -> Arc<Self> {
        Arc::new(Account {
            budget,
            used: AtomicU64::new(0),
            overdrawn: AtomicBool::new(false),
        })
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes so much from the budget, if it has so much left.
    pub(crate) fn try_charge(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        self.try_within(bytes, self.budget.limit)
    }

    /// Takes so much for something that can be made again, while no more than a quarter of the budget
    /// is in use: it must not become the reason why an output goes to disk.
    pub(crate) fn try_charge_for_cache(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        self.try_within(bytes, self.budget.limit / 4)
    }

    fn try_within(self: &Arc<Self>, bytes: u64, limit: u64) -> Option<Charge> {
        self.budget.try_add(bytes, limit).then(|| self.hold(bytes))
    }

    /// Takes so much, even beyond the limit.
    pub(crate) fn charge(self: &Arc<Self>, bytes: u64) -> Charge {
        self.budget.add(bytes);
        if self.budget.is_exceeded() {
            self.overdrawn.store(true, Ordering::Relaxed);
        }
        self.hold(bytes)
    }

    /// Whether the limit is exceeded, and this output has a part in it. What never took more than was
    /// left need not go because others did.
    pub(crate) fn is_too_much(&self) -> bool {
        self.overdrawn.load(Ordering::Relaxed) && self.budget.is_exceeded()
    }

    fn hold(self: &Arc<Self>, bytes: u64) -> Charge {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Charge {
            account: Arc::clone(self),
            bytes,
        }
    }
}

/// Memory that is charged for as long as this lives.
#[derive(Debug)]
pub(crate) struct Charge {
    account: Arc<Account>,
    bytes: u64,
}

impl Charge {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes up to so much of this charge as one of its own.
    pub(crate) fn split(&mut self, bytes: u64) -> Charge {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Charge {
            account: Arc::clone(&self.account),
            bytes,
        }
    }

    /// Adds another charge of the same account to this one.
    pub(crate) fn absorb(&mut self, mut other: Charge) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.account.budget.remove(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_back() {
        let gauge = IntGauge::new("g", "g").unwrap();
        let budget = Arc::new(MemoryBudget::new(100, gauge.clone()));
        let account = Account::new(Arc::clone(&budget));
        let mut first = account.try_charge(60).unwrap();
        assert!(account.try_charge(41).is_none());
        assert!(account.try_charge_for_cache(1).is_none());
        let forced = account.charge(80);
        let half = first.split(25);
        assert_eq!((first.bytes(), half.bytes()), (35, 25));
        first.absorb(half);
        assert_eq!(
            (budget.used(), account.used(), gauge.get()),
            (140, 140, 140)
        );
        drop((first, forced));
        assert_eq!((budget.used(), account.used(), gauge.get()), (0, 0, 0));
    }

    #[test]
    fn only_who_took_more_than_was_left_is_too_much_and_only_while_it_is() {
        let gauge = IntGauge::new("g", "g").unwrap();
        let budget = Arc::new(MemoryBudget::new(100, gauge));
        let [modest, greedy] = [(); 2].map(|()| Account::new(Arc::clone(&budget)));
        let within = modest.try_charge(90).unwrap();
        let beyond = greedy.charge(20);
        assert_eq!((modest.is_too_much(), greedy.is_too_much()), (false, true));
        drop(within);
        assert!(!greedy.is_too_much(), "there is room by now");
        drop(beyond);
    }
}
