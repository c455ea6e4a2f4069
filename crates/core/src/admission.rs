//! How many queries run, and which one is next.

use std::collections::BTreeMap;

use paceline_model::{ErrorClass, QueryError, QueryId};

use crate::Options;

/// Where a new query stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It starts at once.
    Starts,
    /// It waits for its turn.
    Waits,
    /// There is no place even to wait.
    Refused(QueryError),
}

/// The queries that run, counted, and those that wait, first come first served.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    running: usize,
    waiting: BTreeMap<u64, QueryId>,
}

impl Admission {
    /// Decides on a new query; `turn` rises with each. One that is `promised` waits however many others do.
    pub(crate) fn enter(
        &mut self,
        options: &Options,
        turn: u64,
        query: QueryId,
        promised: bool,
    ) -> Admitted {
        if self.running < options.max_running_queries.max(1) && self.waiting.is_empty() {
            self.running += 1;
            return Admitted::Starts;
        }
        if promised || self.waiting.len() < options.max_queued_queries {
            self.waiting.insert(turn, query);
            return Admitted::Waits;
        }
        Admitted::Refused(self.refusal())
    }

    /// Whether there is a place for one more query, beside so many that are on their way.
    ///
    /// # Errors
    /// That there is none.
    pub(crate) fn has_room(&self, options: &Options, coming: usize) -> Result<(), QueryError> {
        let running = options.max_running_queries.max(1);
        let running = running.saturating_sub(self.running);
        let waiting = options.max_queued_queries;
        let waiting = waiting.saturating_sub(self.waiting.len());
        match coming < running.saturating_add(waiting) {
            true => Ok(()),
            false => Err(self.refusal()),
        }
    }

    fn refusal(&self) -> QueryError {
        QueryError::new(
            ErrorClass::Resource,
            format!(
                "too many queries: {} are running and {} are waiting; try again later",
                self.running,
                self.waiting.len()
            ),
        )
    }

    /// A query that runs already, under a former owner, is not held up.
    pub(crate) fn enter_at_once(&mut self) {
        self.running += 1;
    }

    /// A running query has its outcome.
    pub(crate) fn leave(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// A waiting query does not want its turn any more.
    pub(crate) fn give_up(&mut self, turn: u64) {
        self.waiting.remove(&turn);
    }

    /// The query whose turn has come.
    pub(crate) fn next(&mut self, options: &Options) -> Option<QueryId> {
        if self.running >= options.max_running_queries.max(1) {
            return None;
        }
        let (_, query) = self.waiting.pop_first()?;
        self.running += 1;
        Some(query)
    }

    pub(crate) fn running(&self) -> usize {
        self.running
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
