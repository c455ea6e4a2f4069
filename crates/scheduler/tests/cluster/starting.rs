//! Schedulers that start with tables of their configuration, which each tells all others of.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use paceline_scheduler::{ConfiguredTable, Scheduler, SchedulerOptions};
use paceline_store::Members;
use prometheus::Registry;

use crate::beacons::beacon;
use crate::support::{scheduler_options, store};

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has a file for the table in that directory, and its state.
fn options(directory: &Path) -> SchedulerOptions {
    let files = directory.join("c");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("a.csv"), "a\n1\n").unwrap();
    let location = files.display();
    SchedulerOptions {
        tables: vec![ConfiguredTable {
            name: "c".to_string(),
            sql: format!("CREATE EXTERNAL TABLE c STORED AS CSV LOCATION '{location}/'"),
        }],
        ..scheduler_options(&directory.join("state"))
    }
}

async fn start(options: SchedulerOptions) -> Scheduler {
    let registry = Registry::new();
    let starting = Scheduler::start(options, &registry);
    let started = tokio::time::timeout(PATIENCE, starting).await;
    started.expect("it starts in time").unwrap()
}

/// The version of the catalog that a scheduler plans with.
async fn catalog(scheduler: &Scheduler) -> u64 {
    let url = format!("http://{}/v1/status", scheduler.addresses().http);
    let status = reqwest::get(url).await.unwrap();
    let status: serde_json::Value = status.json().await.unwrap();
    status["catalog"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn schedulers_that_make_the_same_tables_start_together() {
    let directory = tempfile::tempdir().unwrap();
    let starting = (0..3).map(|_| start(options(directory.path())));
    let schedulers = join_all(starting).await;
    let versions = join_all(schedulers.iter().map(catalog)).await;
    assert!(versions[0] > 0, "the table is there");
    assert_eq!(versions, [versions[0]; 3], "each was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_with_tables_starts_beside_what_a_dead_one_left() {
    let directory = tempfile::tempdir().unwrap();
    let options = SchedulerOptions {
        beat: Duration::from_millis(100),
        ..options(directory.path())
    };
    let members = Members::new(store(&directory.path().join("state")));
    members.beat(&beacon(1)).await.unwrap();
    let scheduler = start(options).await;
    assert_eq!(catalog(&scheduler).await, 1);
}
