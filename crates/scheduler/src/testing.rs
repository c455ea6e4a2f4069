//! What unit tests of this crate need: state in a directory.

use std::path::Path;

use paceline_model::SchedulerId;
use paceline_store::{
    Journal, JournalMetrics, JournalOptions, Journals, Limits, StateLocation, StateStore,
    StoreMetrics,
};
use prometheus::Registry;

/// State in a directory.
pub(crate) fn store(directory: &Path) -> StateStore {
    let shown = directory.display().to_string();
    let location = StateLocation::parse(&shown, &Default::default(), []).unwrap();
    let metrics = StoreMetrics::register(&Registry::new()).unwrap();
    StateStore::open(&location, Limits::default(), metrics).unwrap()
}

/// The journals there.
pub(crate) fn journals(directory: &Path) -> Journals {
    let metrics = JournalMetrics::register(&Registry::new()).unwrap();
    Journals::new(store(directory), metrics)
}

/// One of them.
pub(crate) fn journal(journals: &Journals, of: &SchedulerId) -> Journal {
    Journal::begin(of.clone(), journals.clone(), JournalOptions::default())
}
