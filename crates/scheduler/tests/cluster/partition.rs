//! Schedulers that do not reach each other. All reach the state store.

use std::net::TcpListener;
use std::time::Duration;

use paceline_executor::{Executor, ExecutorOptions};
use paceline_store::Members;
use prometheus::Registry;

use crate::beacons::show;
use crate::support::{Cluster, here, store};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the two show themselves to others, and nobody ever says anything.
const ELSEWHERE: &str = "127.0.0.2";

/// Listens in a scheduler's place where it shows itself, for as long as this lives.
fn say_nothing(cluster: &Cluster, scheduler: usize) -> TcpListener {
    let shown = &cluster.schedulers[scheduler].addresses().cluster;
    TcpListener::bind(shown).unwrap()
}

/// Attaches an executor to one scheduler, which is all that it reaches.
fn add_executor(cluster: &mut Cluster, scheduler: usize) {
    let shown = &cluster.schedulers[scheduler].addresses().cluster;
    let name = format!("executor-{scheduler}");
    let options = ExecutorOptions {
        schedulers: vec![here(shown)],
        bind: ([127, 0, 0, 1], 0).into(),
        slots: 2,
        directory: cluster.directory.path().join(name),
        heartbeat: Duration::from_millis(100),
        ..ExecutorOptions::default()
    };
    let executor = Executor::start(options, &Registry::new()).unwrap();
    cluster.executors.push(executor);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_side_changes_the_other_plans_with() {
    let mut cluster = Cluster::start(0, 0).await;
    let mut silent = Vec::new();
    for scheduler in 0..2 {
        let change = |options: &mut paceline_scheduler::SchedulerOptions| {
            options.advertise_host = Some(ELSEWHERE.to_string());
            options.beat = Duration::from_millis(200);
            options.takeover_after = Duration::from_millis(600);
            // What ends soon is in no journal, so neither learns that its own is over.
            options.linger = Duration::from_secs(3600);
        };
        cluster.add_scheduler(change).await;
        silent.push(say_nothing(&cluster, scheduler));
        add_executor(&mut cluster, scheduler);
    }
    for scheduler in 0..2 {
        cluster
            .until("each to have its executor", || async {
                let status = cluster.get(scheduler, "/v1/status").await;
                status["executors"].as_array().map(Vec::len) == Some(1)
            })
            .await;
    }
    for (changes, plans) in [(1, 0), (0, 1)] {
        let view = format!("CREATE VIEW v{changes} AS SELECT 41 + 1 AS a");
        let changed = tokio::time::timeout(PATIENCE, cluster.sql(changes, &view)).await;
        changed.expect("an answer in time").unwrap();
        let select = format!("SELECT a FROM v{changes}");
        let rows = cluster.sql(plans, &select).await.unwrap();
        assert_eq!(rows[0]["a"], 42);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_lives_and_is_not_reached_is_shown_as_such() {
    let cluster = Cluster::start(1, 0).await;
    let members = Members::new(store(&cluster.directory.path().join("state")));
    let me = cluster.schedulers[0].id();
    let seen = cluster.until("the other one to be shown", || async {
        let status = cluster.get(0, "/v1/status").await;
        let all = status["schedulers"].as_array().unwrap();
        let has = |id: &str, reachable: bool| {
            all.iter()
                .any(|it| it["id"] == id && it["live"] == true && it["reachable"] == reachable)
        };
        has(me.as_str(), true) && has("dead", false)
    });
    // Cancel safety: nobody needs the beacon any more.
    tokio::select! {
        () = seen => {}
        () = show(&members) => panic!("beats have no end"),
    }
}
