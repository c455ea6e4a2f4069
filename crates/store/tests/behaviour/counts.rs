//! What is counted of journals, claims and requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::memory::InMemory;
use paceline_model::Epoch;
use paceline_store::{
    Claims, Created, Journal, JournalMetrics, JournalOptions, Journals, Key, StateStore,
    StoreMetrics,
};
use prometheus::Registry;

use crate::faulty::{Fault, FaultyStore};
use crate::journal::{accepted, name, query};
use crate::places::{LIMITS, Place};

/// More than one create takes: it ends unknown.
const NO_ANSWER: [Fault; 3] = [Fault::FailBefore; 3];

/// The values of a counter by those of its labels, in the order of their names; of a histogram, how many
/// it has seen. Without those that are 0.
pub(crate) fn counted(registry: &Registry, name: &str) -> BTreeMap<String, u64> {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    let metrics = family.into_iter().flat_map(|family| family.get_metric());
    let each = metrics.map(|metric| {
        let labels: Vec<&str> = metric.get_label().iter().map(|pair| pair.value()).collect();
        let counter = metric.get_counter().get_value() as u64;
        let seen = metric.get_histogram().get_sample_count();
        (labels.join(" "), counter + seen)
    });
    each.filter(|(_, value)| *value > 0).collect()
}

fn expected(all: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let each = all.iter();
    each.map(|(labels, value)| (labels.to_string(), *value))
        .collect()
}

#[tokio::test]
async fn journals_seals_and_claims_are_counted_by_what_came_of_them() {
    let place = Place::memory();
    let room = place.fresh();
    let registry = Registry::new();
    let metrics = JournalMetrics::register(&registry).unwrap();
    let journals = Journals::new(room.open(), metrics.clone());
    let (faulty, state) = room.faulty();
    let doubtful = Journals::new(state.clone(), metrics.clone());
    let options = JournalOptions {
        retry_after: std::time::Duration::from_millis(1),
        ..JournalOptions::default()
    };
    let begin = |by: &str, journals: &Journals| Journal::begin(name(by), journals.clone(), options);

    let a = begin("a", &journals);
    a.append(accepted(1)).await.unwrap();
    let same_name = begin("a", &journals);
    same_name.append(accepted(2)).await.unwrap_err();
    let c = begin("c", &doubtful);
    faulty.on_writes(NO_ANSWER);
    c.append(accepted(3)).await.unwrap();

    faulty.on_writes(NO_ANSWER);
    let unknown = doubtful.seal(a.scheduler(), &name("b")).await;
    unknown.unwrap_err();
    for by in ["b", "d"] {
        journals.seal(a.scheduler(), &name(by)).await.unwrap();
    }
    a.append(accepted(4)).await.unwrap_err();

    let claims = Claims::new(room.open(), metrics.clone());
    for by in ["b", "d"] {
        let claimed = claims.adopt(query(1), Epoch(1), &name(by)).await;
        assert_eq!(claimed, Ok(name("b")));
    }
    faulty.on_writes(NO_ANSWER);
    let doubtful = Claims::new(state, metrics);
    let unknown = doubtful.adopt(query(2), Epoch(1), &name("b")).await;
    unknown.unwrap_err();

    let appends = [("won", 2), ("taken", 1), ("unknown", 1), ("sealed", 1)];
    let name = "paceline_journal_appends_total";
    assert_eq!(counted(&registry, name), expected(&appends));
    let each = [("won", 1), ("lost", 1), ("unknown", 1)];
    for name in [
        "paceline_journal_seals_total",
        "paceline_journal_claims_total",
    ] {
        assert_eq!(counted(&registry, name), expected(&each), "{name}");
    }
}

/// A dead scheduler may leave thousands.
#[tokio::test]
async fn a_submission_that_has_its_claim_costs_who_completes_it_no_create() {
    let registry = Registry::new();
    let metrics = StoreMetrics::register(&registry).unwrap();
    let state = StateStore::over(Arc::new(InMemory::new()), "memory", LIMITS, metrics);
    let journal_metrics = JournalMetrics::register(&Registry::new()).unwrap();
    let claims = Claims::new(state, journal_metrics);
    let a = name("a");
    assert_eq!(claims.submit(query(1), &a).await, Ok(a.clone()));
    for _ in 0..3 {
        let by = claims.complete_submission(query(1), &a).await;
        assert_eq!(by, Ok(a.clone()));
    }
    let requests = [("create ok", 1), ("get ok", 3)];
    let name = "paceline_store_requests_total";
    assert_eq!(counted(&registry, name), expected(&requests));
}

#[tokio::test]
async fn requests_are_counted_by_what_came_of_them() {
    let registry = Registry::new();
    let metrics = StoreMetrics::register(&registry).unwrap();
    let faulty = Arc::new(FaultyStore::new(Arc::new(InMemory::new())));
    let state = StateStore::over(faulty.clone(), "memory", LIMITS, metrics);
    let key = |n: u64| Key::new("x").numbered(n);

    assert_eq!(state.create(&key(0), b"0").await, Ok(Created::Won));
    state.create(&key(0), b"0").await.unwrap();
    for (n, fault) in [
        (1, Fault::FailBefore),
        (2, Fault::Hang),
        (3, Fault::Conflict),
    ] {
        faulty.on_writes([fault]);
        assert_eq!(state.create(&key(n), b"").await, Ok(Created::Won));
    }
    faulty.on_writes([Fault::Denied]);
    state.create(&key(4), b"").await.unwrap_err();
    faulty.on_writes(NO_ANSWER);
    state.create(&key(5), b"").await.unwrap_err();
    state.put(&key(6), b"").await.unwrap();
    state.list(&Key::new("x"), None).await.unwrap();
    faulty.on_removals([Fault::FailBefore]);
    state.delete(&key(6)).await.unwrap();

    let requests = [
        ("create ok", 4),
        // What is there, and the conflict.
        ("create exists", 2),
        ("create failed", 4),
        ("create timeout", 1),
        ("create refused", 1),
        ("get ok", 1),
        // What is not there after a create of unknown fate, or one that was refused.
        ("get missing", 7),
        ("put ok", 1),
        ("list ok", 1),
        ("delete failed", 1),
        ("delete ok", 1),
    ];
    let name = "paceline_store_requests_total";
    assert_eq!(counted(&registry, name), expected(&requests));
    let timed = [
        ("create", 12),
        ("get", 8),
        ("put", 1),
        ("list", 1),
        ("delete", 2),
    ];
    let name = "paceline_store_request_seconds";
    assert_eq!(counted(&registry, name), expected(&timed));
    let creates = [
        ("won", 1),
        ("won_after_doubt", 3),
        ("exists", 1),
        ("refused", 1),
        ("unknown", 1),
    ];
    let name = "paceline_store_creates_total";
    assert_eq!(counted(&registry, name), expected(&creates));
}
