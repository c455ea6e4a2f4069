//! What a scheduler that is told to stop waits for.

use std::time::{Duration, Instant};

use paceline_store::Members;

use crate::beacons::{beacon, show};
use crate::slow_store::SlowStore;
use crate::support::{Cluster, store_at};

/// A tenth of the time for which a journal waits for the store.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_store_that_is_away() {
    let store = SlowStore::start(Duration::ZERO).await;
    let cluster = Cluster::start_with(1, 0, |options| {
        options.state = "s3://bucket/x".to_string();
        options.state_options = store.options();
    })
    .await;
    store.go_away();
    let begun = Instant::now();
    let leaving = cluster.schedulers[0].drain(Duration::from_secs(1));
    let left = tokio::time::timeout(LIMIT, leaving).await;
    assert!(left.is_ok(), "{:?}", begun.elapsed());
}

/// Where the state lies.
const STATE: &str = "s3://bucket/x";

/// How often a scheduler is looked at that must not leave yet. It would be gone by then.
const LOOKS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn who_sent_a_statement_that_is_being_planned_gets_its_answer() {
    let store = SlowStore::start(Duration::ZERO).await;
    let members = Members::new(store_at(STATE, &store.options()));
    members.beat(&beacon(0)).await.unwrap();
    let cluster = Cluster::start_with(2, 1, |options| {
        options.state = STATE.to_string();
        options.state_options = store.options();
        options.beat = Duration::from_secs(2);
    })
    .await;
    let leaving = async {
        cluster
            .until("the statement to be planned", || async {
                store.reads_held() > 0
            })
            .await;
        let looking = async {
            cluster
                .until("the scheduler to leave", || async {
                    cluster.get(0, "/v1/ready").await["ready"] == false
                })
                .await;
            for _ in 0..LOOKS {
                cluster.get(0, "/v1/status").await;
            }
            store.let_reads_go();
        };
        tokio::join!(cluster.schedulers[0].drain(LIMIT), looking);
    };
    store.hold_reads("/catalog/");
    let asking = async { tokio::join!(cluster.sql(0, "SELECT 41 + 1 AS a"), leaving) };
    // Contact with a third one is missing, so the catalog is read before every plan.
    // Cancel safety: nobody needs the beacon any more.
    let (rows, ()) = tokio::select! {
        answered = asking => answered,
        () = show(&members) => panic!("beats have no end"),
    };
    assert_eq!(rows.unwrap()[0]["a"], 42);
}
