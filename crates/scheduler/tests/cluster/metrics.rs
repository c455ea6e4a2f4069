//! The metrics that the manual names are there.

use std::collections::BTreeSet;

use paceline_executor::{Executor, ExecutorOptions};
use paceline_scheduler::Scheduler;
use paceline_telemetry::register_process_metrics;
use prometheus::{IntCounter, Registry};

use crate::support::scheduler_options;

const PAGE: &str = include_str!("../../../../docs/metrics.md");

/// The names in the first column of the page's tables. `_used` after `paceline_executor_slots` is
/// `paceline_executor_slots_used`, and `_running` after `paceline_queries_total` goes in the place of
/// `_total`.
fn named() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for row in PAGE.lines().filter(|line| line.starts_with('|')) {
        let first = row.split('|').nth(1).unwrap_or_default();
        let mut stem = "";
        for quoted in first.split('`').skip(1).step_by(2) {
            if quoted.starts_with("paceline_") {
                stem = quoted.strip_suffix("_total").unwrap_or(quoted);
                names.insert(quoted.to_string());
            } else if quoted.starts_with('_') {
                names.insert(format!("{stem}{quoted}"));
            }
        }
    }
    names
}

/// A registry takes no second metric of a name, whether the first one has values yet or not.
fn has(registry: &Registry, name: &str) -> bool {
    let second = IntCounter::new(name, "of no use").unwrap();
    registry.register(Box::new(second)).is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_manual_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let registries = [(); 3].map(|()| Registry::new());
    let [of_scheduler, of_executor, of_process] = &registries;
    let options = scheduler_options(&directory.path().join("state"));
    let scheduler = Scheduler::start(options, of_scheduler).await.unwrap();
    let options = ExecutorOptions {
        schedulers: vec![scheduler.addresses().cluster.clone()],
        bind: ([127, 0, 0, 1], 0).into(),
        directory: directory.path().join("executor"),
        ..ExecutorOptions::default()
    };
    let executor = Executor::start(options, of_executor).unwrap();
    register_process_metrics(of_process, "scheduler", "0.0.0").unwrap();

    let names = named();
    assert!(names.len() > 30, "{names:?}");
    for name in &names {
        let there = registries.iter().any(|registry| has(registry, name));
        assert!(there, "docs/metrics.md names {name}");
    }
    executor.stop();
    scheduler.stop().await;
}
