//! The executors that are attached, and how busy each is.

use std::collections::{BTreeMap, BTreeSet};

use paceline_model::{ExecutorId, QueryId};

/// An executor, as status pages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorStatus {
    /// The executor.
    pub executor: ExecutorId,
    /// Its data plane, as `host:port`.
    pub address: String,
    /// Where it stands.
    pub zone: String,
    /// How many slots it has.
    pub slots: u32,
    /// Slots of the tasks that this scheduler gave it.
    pub slots_committed: u32,
    /// Slots that other schedulers' tasks run in or wait for.
    pub slots_of_others: u32,
    /// Whether it takes no new tasks.
    pub draining: bool,
    /// Queries of this scheduler that it was given something of.
    pub queries: usize,
}

/// More slots than any machine has. Keeps sums of what executors claim within bounds.
const MAX_SLOTS: u32 = 1 << 14;

/// One attached executor.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) address: String,
    pub(crate) zone: String,
    pub(crate) slots: u32,
    pub(crate) draining: bool,
    /// Slots of the tasks that this scheduler launched and has not seen the end of.
    pub(crate) committed: u32,
    /// What the last report showed beyond `committed`.
    pub(crate) others: u32,
    /// Queries that were ever given to it and have not ended.
    pub(crate) queries: BTreeSet<QueryId>,
}

impl Executor {
    fn load(&self) -> u32 {
        self.committed.saturating_add(self.others)
    }

    /// Slots that nobody uses or waits for; negative if there is a queue.
    pub(crate) fn free(&self) -> i64 {
        i64::from(self.slots) - i64::from(self.load())
    }

    /// Slots that a task of so many partitions occupies here.
    pub(crate) fn slots_for(&self, partitions: u32) -> u32 {
        partitions.clamp(1, self.slots)
    }

    /// Whether so many slots' worth of work may be added, the queue included. One task of each scheduler
    /// may wait there whatever the others have there: they fill up what becomes free with small ones as
    /// soon as it does, and no large one would ever come to its turn, which the executor gives in order.
    pub(crate) fn has_room(&self, slots: u32, queue_depth: Option<u32>) -> bool {
        let queue = i64::from(queue_depth.unwrap_or(self.slots));
        self.committed == 0 || i64::from(slots) <= self.free() + queue
    }
}

/// All attached executors, by id.
#[derive(Debug, Default)]
pub(crate) struct Executors {
    attached: BTreeMap<ExecutorId, Executor>,
    accepting: u32,
}

impl Executors {
    pub(crate) fn get(&self, id: &ExecutorId) -> Option<&Executor> {
        self.attached.get(id)
    }

    pub(crate) fn is_attached(&self, id: &ExecutorId) -> bool {
        self.attached.contains_key(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.attached.len()
    }

    /// How many take new tasks.
    pub(crate) fn accepting(&self) -> u32 {
        self.accepting
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ExecutorId, &Executor)> {
        self.attached.iter()
    }

    /// Those that take new tasks, by id.
    pub(crate) fn accepting_iter(&self) -> impl Iterator<Item = (&ExecutorId, &Executor)> {
        self.iter().filter(|(_, executor)| !executor.draining)
    }

    /// Adds an executor or renews what is known of it. Returns whether it was known.
    pub(crate) fn attach(
        &mut self,
        id: ExecutorId,
        address: String,
        zone: String,
        slots: u32,
        draining: bool,
    ) -> bool {
        let slots = slots.clamp(1, MAX_SLOTS);
        let mut known = true;
        let executor = self.attached.entry(id).or_insert_with(|| {
            known = false;
            Executor {
                address: String::new(),
                zone: String::new(),
                slots,
                draining,
                committed: 0,
                others: 0,
                queries: BTreeSet::new(),
            }
        });
        executor.address = address;
        executor.zone = zone;
        executor.slots = slots;
        executor.draining = draining;
        executor.others = 0;
        self.count_accepting();
        known
    }

    /// Takes an executor out. Returns it, if it was there.
    pub(crate) fn remove(&mut self, id: &ExecutorId) -> Option<Executor> {
        let executor = self.attached.remove(id);
        self.count_accepting();
        executor
    }

    pub(crate) fn drain(&mut self, id: &ExecutorId) {
        if let Some(executor) = self.attached.get_mut(id) {
            executor.draining = true;
        }
        self.count_accepting();
    }

    pub(crate) fn report_load(&mut self, id: &ExecutorId, load: u32) {
        if let Some(executor) = self.attached.get_mut(id) {
            executor.others = load.saturating_sub(executor.committed);
        }
    }

    /// A task was given to the executor.
    pub(crate) fn occupy(&mut self, id: &ExecutorId, slots: u32) {
        if let Some(executor) = self.attached.get_mut(id) {
            executor.committed += slots;
        }
    }

    /// A task that was given to the executor ended, or was told to.
    pub(crate) fn vacate(&mut self, id: &ExecutorId, slots: u32) {
        if let Some(executor) = self.attached.get_mut(id) {
            executor.committed = executor.committed.saturating_sub(slots);
        }
    }

    /// From now on the executor has to be told when the query ends.
    pub(crate) fn involve(&mut self, id: &ExecutorId, query: QueryId) {
        if let Some(executor) = self.attached.get_mut(id) {
            executor.queries.insert(query);
        }
    }

    /// The query has ended.
    pub(crate) fn forget(&mut self, id: &ExecutorId, query: QueryId) {
        if let Some(executor) = self.attached.get_mut(id) {
            executor.queries.remove(&query);
        }
    }

    // Called when executors come, go or drain, which is rare; saves a count at every dispatch.
    fn count_accepting(&mut self) {
        let accepting = self.accepting_iter().count();
        self.accepting = u32::try_from(accepting).unwrap_or(u32::MAX);
    }

    pub(crate) fn status(&self) -> Vec<ExecutorStatus> {
        self.iter()
            .map(|(id, executor)| ExecutorStatus {
                executor: id.clone(),
                address: executor.address.clone(),
                zone: executor.zone.clone(),
                slots: executor.slots,
                slots_committed: executor.committed,
                slots_of_others: executor.others,
                draining: executor.draining,
                queries: executor.queries.len(),
            })
            .collect()
    }
}
