//! What all queries share. Held apart from the queries, so that one of them and this can be changed
//! at the same time.

use std::collections::BTreeSet;

use paceline_model::QueryId;

use crate::admission::Admission;
use crate::counters::Counters;
use crate::executors::Executors;
use crate::options::Options;
use crate::outbox::Outbox;
use crate::time::Now;
use crate::timers::Timers;

#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) executors: Executors,
    pub(crate) admission: Admission,
    pub(crate) timers: Timers,
    pub(crate) counters: Counters,
    pub(crate) out: Outbox,
    pub(crate) now: Now,
    /// Queries with tasks to launch that met no executor which takes any.
    pub(crate) starved: BTreeSet<QueryId>,
}
