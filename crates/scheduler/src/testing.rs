//! What unit tests of this crate need: state in a directory, and a scheduler that serves nobody.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::Schema;
use paceline_model::{Incarnation, QueryId, SchedulerId};
use paceline_store::{
    Addresses, Beacon, Journal, JournalMetrics, JournalOptions, Journals, Limits, Members,
    StateLocation, StateStore, StoreMetrics,
};
use prometheus::Registry;
use uuid::Uuid;

use crate::identity::Identity;
use crate::members::Membership;
use crate::options::SchedulerOptions;
use crate::record::QueryRecord;
use crate::shared::{Shared, assemble};

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

/// A beacon without an address.
pub(crate) fn beacon(scheduler: SchedulerId, beat: u64) -> Beacon {
    Beacon {
        scheduler,
        incarnation: Incarnation(Uuid::nil()),
        addresses: Addresses {
            cluster: String::new(),
            flight: String::new(),
            http: String::new(),
        },
        zone: String::new(),
        version: String::new(),
        beat,
    }
}

/// A scheduler without doors, peers or executors, whose state lies in a directory.
pub(crate) async fn shared(directory: &Path) -> Arc<Shared> {
    let options = SchedulerOptions {
        state: directory.display().to_string(),
        ..SchedulerOptions::default()
    };
    let (store, identity) = (store(directory), Identity::draw("s"));
    let own = beacon(identity.id(), 0);
    let membership = Membership::new(Members::new(store.clone()), own, options.beat);
    let stores = (store.clone(), store);
    let registry = Registry::new();
    let shared = assemble(&options, &registry, identity, stores, membership).await;
    shared.unwrap()
}

/// A query that a client sent a moment ago.
pub(crate) fn record() -> QueryRecord {
    let query = QueryId(Uuid::now_v7());
    let (schema, now) = (Arc::new(Schema::empty()), Instant::now());
    QueryRecord::new(query, "SELECT 1".to_string(), schema, None, now, now)
}
