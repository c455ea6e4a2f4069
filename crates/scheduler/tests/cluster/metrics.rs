//! The metrics that the manual names are there, and the manual names all that are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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

/// Every word of the crates' sources. Names of metrics are among them, those of executors without the
/// beginning that all of them have.
fn words(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            words(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            let of_names = |c: char| c == '_' || c.is_ascii_lowercase();
            let all = text.split(|c: char| !of_names(c));
            found.extend(all.map(str::to_string));
        }
    }
}

/// What a metric may be called.
fn candidates() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for of in fs::read_dir(crates).unwrap().flatten() {
        words(&of.path().join("src"), &mut all);
    }
    let of_executors = all.iter().map(|word| format!("paceline_executor_{word}"));
    let of_executors: Vec<_> = of_executors.collect();
    all.retain(|word| word.starts_with("paceline_"));
    all.extend(of_executors);
    all
}

/// A registry takes no second metric of a name, whether the first one has values yet or not.
fn has(registry: &Registry, name: &str) -> bool {
    let second = IntCounter::new(name, "of no use").unwrap();
    let taken = registry.register(Box::new(second.clone())).is_err();
    if !taken {
        registry.unregister(Box::new(second)).unwrap();
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_in_the_manual_and_the_other_way_round() {
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
    assert!(names.len() > 50, "{names:?}");
    let is_there = |name: &String| registries.iter().any(|registry| has(registry, name));
    for name in &names {
        assert!(is_there(name), "docs/metrics.md names {name}");
    }
    let gathered = registries.iter().flat_map(Registry::gather);
    let mut there: BTreeSet<_> = gathered.map(|family| family.name().to_string()).collect();
    there.extend(candidates().into_iter().filter(is_there));
    let unnamed: Vec<_> = there.difference(&names).collect();
    assert!(unnamed.is_empty(), "docs/metrics.md leaves out {unnamed:?}");
    executor.stop();
    scheduler.stop().await;
}
