//! What must never be, and what must not go unseen: that it is counted.

use arrow::datatypes::Schema;
use paceline_core::{Action, Options};
use paceline_model::{ExecutorId, Invariant};
use prometheus::Registry;
use uuid::Uuid;

use super::tests::driver_with;
use super::*;
use crate::testing::holding_nothing;

fn value(registry: &Registry, name: &str) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    let metrics = family.unwrap().get_metric().iter();
    metrics.map(|metric| metric.get_counter().get_value()).sum()
}

/// The core says it of itself, which its own tests have it do.
#[tokio::test]
async fn what_is_left_behind_is_an_invariant_broken() {
    let directory = tempfile::tempdir().unwrap();
    let driver = driver_with(directory.path(), Options::default(), &Registry::new());
    let counted = || driver.metrics.violations.of(Invariant::NothingLeft);
    assert_eq!(counted(), 0);
    let what = "x has 2 slots taken".to_string();
    driver.perform(&mut driver.state.lock(), Action::LeftBehind { what });
    assert_eq!(counted(), 1);
}

#[tokio::test]
async fn an_executor_that_obeys_a_later_owner_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    let driver = driver_with(directory.path(), Options::default(), &registry);
    let (query, schema) = (QueryId(Uuid::now_v7()), Arc::new(Schema::empty()));
    let (sql, now) = ("SELECT 1".to_string(), Instant::now());
    driver.submit(QueryRecord::new(query, sql, schema, None, now, now), None);
    let says = |epoch| {
        let answer = holding_nothing(query, Epoch(epoch));
        driver.answered(&ExecutorId::new("x"), vec![answer]);
    };
    let overtaken = || value(&registry, "paceline_overtaken_total");
    says(0);
    assert_eq!(overtaken(), 0.0, "it obeys this one");
    says(1);
    assert_eq!(overtaken(), 1.0);
}
