//! The moments at which something is due.

use std::collections::BTreeSet;

use paceline_model::{QueryId, StageId, TaskId};

use crate::Now;

/// What is due. Whoever handles it checks whether it still applies; an alarm that came too late for
/// its cause does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// The query ran out of time.
    Deadline(QueryId),
    /// The query waited long enough for an executor.
    Starved(QueryId),
    /// The task waited long enough after a failure.
    Backoff(QueryId, StageId, TaskId),
}

/// All alarms, in order of time.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Now, Alarm)>,
    announced: Option<Now>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Now, alarm: Alarm) {
        self.due.insert((at, alarm));
    }

    pub(crate) fn cancel(&mut self, at: Now, alarm: Alarm) {
        self.due.remove(&(at, alarm));
    }

    /// Takes out the next alarm whose time has come.
    pub(crate) fn pop(&mut self, now: Now) -> Option<Alarm> {
        let &(at, alarm) = self.due.first()?;
        if at > now {
            return None;
        }
        self.due.remove(&(at, alarm));
        Some(alarm)
    }

    /// The time to be woken at, if it is another one than was asked for last.
    pub(crate) fn wake(&mut self) -> Option<Now> {
        let next = self.due.first().map(|&(at, _)| at);
        if next == self.announced {
            return None;
        }
        self.announced = next;
        next
    }

    /// Whatever was asked for has been used up by now.
    pub(crate) fn woken(&mut self, now: Now) {
        self.announced = self.announced.filter(|&at| at > now);
    }
}
