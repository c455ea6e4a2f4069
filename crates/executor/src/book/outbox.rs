//! Task states that somebody still has to hear.
//!
//! At most one state of an attempt lies here, so the size is bounded by the launches that owners
//! made and have not acknowledged the end of.

use std::collections::{BTreeMap, HashMap};

use paceline_model::{OutputId, QueryId};
use paceline_proto::cluster;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    last: u64,
    states: BTreeMap<u64, (Option<OutputId>, QueryId, cluster::TaskState)>,
    by_attempt: HashMap<OutputId, u64>,
}

impl Outbox {
    /// Numbers a state and keeps it. An older state of the same attempt is replaced.
    pub(super) fn put(&mut self, query: QueryId, mut state: cluster::TaskState) -> u64 {
        self.last += 1;
        state.number = self.last;
        let id = state.output_id().ok();
        if let Some(id) = id
            && let Some(older) = self.by_attempt.insert(id, self.last)
        {
            self.states.remove(&older);
        }
        self.states.insert(self.last, (id, query, state));
        self.last
    }

    pub(super) fn get(&self, number: u64) -> Option<&cluster::TaskState> {
        self.states.get(&number).map(|(_, _, state)| state)
    }

    pub(super) fn query_of(&self, number: u64) -> Option<QueryId> {
        self.states.get(&number).map(|(_, query, _)| *query)
    }

    pub(super) fn has(&self, id: &OutputId) -> bool {
        self.by_attempt.contains_key(id)
    }

    pub(super) fn numbers_of(&self, query: QueryId) -> Vec<u64> {
        self.iter()
            .filter(|(_, of, _)| *of == query)
            .map(|(number, _, _)| number)
            .collect()
    }

    pub(super) fn attempts_of(&self, query: QueryId) -> impl Iterator<Item = OutputId> {
        let attempts = self.by_attempt.keys().copied();
        attempts.filter(move |id| id.query == query)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, QueryId, &cluster::TaskState)> {
        self.states
            .iter()
            .map(|(number, (_, query, state))| (*number, *query, state))
    }

    pub(super) fn remove(&mut self, number: u64) {
        if let Some((Some(id), _, _)) = self.states.remove(&number) {
            self.by_attempt.remove(&id);
        }
    }

    pub(super) fn drop_query(&mut self, query: QueryId) {
        for number in self.numbers_of(query) {
            self.remove(number);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }
}
