//! What clients want to know and do: records, statuses, cancels, and how long things are kept.

use std::time::Instant;

use paceline_core::Event;
use paceline_model::{QueryId, QueryStatus};
use paceline_plan::WriteInto;
use tokio::sync::watch;

use super::{Driver, State};
use crate::record::QueryRecord;
use crate::shelf::Due;
use crate::written;

/// What has come of a cancel.
#[derive(Debug)]
pub(crate) enum Cancelling {
    /// The query is not driven here.
    Elsewhere,
    /// It will not go on, or has ended before.
    Over,
    /// It was told to stop, or had come to its end, and has no outcome yet. This tells when to look again.
    Ending(watch::Receiver<()>),
}

impl Driver {
    /// Looks at a query's record.
    pub(crate) fn with_record<T>(
        &self,
        query: &QueryId,
        look: impl FnOnce(&mut QueryRecord) -> T,
    ) -> Option<T> {
        self.state.lock().shelf.get_mut(query).map(look)
    }

    /// Whether a query is driven here, or has ended here and is remembered.
    pub(crate) fn drives(&self, query: QueryId) -> bool {
        self.with_record(&query, |record| !record.is_moved()) == Some(true)
    }

    /// Whether it was driven here until others became its owners.
    pub(crate) fn has_moved(&self, query: QueryId) -> bool {
        self.with_record(&query, |record| record.is_moved()) == Some(true)
    }

    /// Where a query that failed may have left files that others see.
    pub(crate) fn leaves_behind(&self, query: QueryId) -> Option<WriteInto> {
        self.state.lock().shelf.leaves_behind(&query).cloned()
    }

    /// Somebody read a result to its end: it needs no owner any more, and is kept only for who asks
    /// again soon.
    pub(crate) fn consumed(&self, query: QueryId) {
        let mut state = self.state.lock();
        if let Some(record) = state.shelf.get_mut(&query)
            // What was read of a write before is the list of its files.
            && !record.awaits_commit()
            && !std::mem::replace(&mut record.consumed, true)
            // They are let go of when their outcome is durable.
            && record.kept.is_none()
            && record.write.is_none()
        {
            record.is_over = true;
            let (over, all_here) = (written::over(record), record.is_all_here());
            self.over(query, over);
            if all_here {
                // Executors keep their copies for owners to come, and there will be none.
                self.apply_locked(&mut state, Event::Released { query });
            }
        }
    }

    /// It is decided what a write has come to: executors need to hold nothing of it any more.
    pub(crate) fn decided(&self, query: QueryId) {
        let mut state = self.state.lock();
        if let Some(record) = state.shelf.get(&query) {
            let took = record.accepted.elapsed();
            self.metrics.query_ended(record.state, took);
        }
        self.apply_locked(&mut state, Event::Released { query });
    }

    /// A write that somebody waits for has its outcome, in the store: it needs no owner any more.
    pub(crate) fn write_over(&self, query: QueryId) {
        let mut state = self.state.lock();
        if let Some(record) = state.shelf.get_mut(&query) {
            record.is_over = true;
            self.over(query, written::over(record));
        }
    }

    /// A query that ran by itself has its outcome, in the store: nothing of it is needed any more.
    pub(crate) fn let_go(&self, query: QueryId) {
        let mut state = self.state.lock();
        self.release(&mut state, query);
    }

    /// The status of a query that is or was driven here.
    pub(crate) fn status(&self, query: &QueryId) -> Option<QueryStatus> {
        let state = self.state.lock();
        match state.shelf.get(query) {
            Some(record) if record.is_moved() => None,
            Some(record) => {
                Some(record.status(&self.me(), state.core.status(*query), Instant::now()))
            }
            None => state.shelf.past(query).cloned(),
        }
    }

    /// The status of every query that is or was driven here.
    pub(crate) fn statuses(&self) -> Vec<QueryStatus> {
        let state = self.state.lock();
        let (me, now) = (self.me(), Instant::now());
        let here = state.shelf.iter().filter(|record| !record.is_moved());
        let present = here.map(|record| record.status(&me, state.core.status(record.query), now));
        state.shelf.all_past().cloned().chain(present).collect()
    }

    /// Whether a query ended here, and nothing but that is remembered of it.
    pub(crate) fn has_ended(&self, query: QueryId) -> bool {
        self.state.lock().core.has_ended(query)
    }

    /// Whether a query ended here of which nothing tells any more what came of it.
    pub(crate) fn is_gone(&self, query: QueryId) -> bool {
        self.state.lock().shelf.is_gone(&query)
    }

    /// Cancels a query, unless it has ended.
    pub(crate) fn cancel(&self, query: QueryId) -> Cancelling {
        let mut state = self.state.lock();
        let Some(record) = state.shelf.get(&query) else {
            return match state.shelf.past(&query) {
                Some(_) => Cancelling::Over,
                None => Cancelling::Elsewhere,
            };
        };
        if record.is_moved() {
            return Cancelling::Elsewhere;
        }
        if !record.state.is_final() && !self.cancel_adopting(&mut state, query) {
            self.apply_locked(&mut state, Event::Cancel { query });
        }
        match state.shelf.get(&query) {
            Some(record) if record.awaits_outcome() => Cancelling::Ending(record.watch_ends()),
            _ => Cancelling::Over,
        }
    }

    /// How many queries run, and how many wait for their turn.
    pub(crate) fn running_and_queued(&self) -> (usize, usize) {
        self.state.lock().core.running_and_queued()
    }

    /// Whether queries run or wait, or have ended and do not have their outcome yet, or somebody reads a result.
    pub(crate) fn busy(&self) -> bool {
        let state = self.state.lock();
        let mut records = state.shelf.iter();
        records.any(|record| {
            let ends = !record.state.is_final() || record.awaits_outcome();
            ends && !record.is_moved() || record.readers > 0
        })
    }

    /// Drops what has been kept long enough, and cancels what nobody waits for.
    pub(crate) fn tidy(&self) {
        let mut state = self.state.lock();
        self.lose_patience(&mut state);
        for due in state.shelf.due(Instant::now()) {
            match due {
                Due::Abandon(query) => {
                    tracing::info!(%query, "cancelled: nobody waits for it");
                    self.apply_locked(&mut state, Event::Cancel { query });
                }
                Due::Release(query) => self.release(&mut state, query),
            }
        }
    }

    fn release(&self, state: &mut State, query: QueryId) {
        let Some(record) = state.shelf.get(&query) else {
            return;
        };
        // What was read of it here until now is nothing to tell: its next owner does.
        if record.is_moved() || record.has_left() {
            state.shelf.forget(&query);
            return;
        }
        let over = written::over(record);
        let last = record.status(&self.me(), None, Instant::now());
        state.shelf.retire(&query, last);
        self.over(query, over);
        self.apply_locked(state, Event::Released { query });
    }
}
