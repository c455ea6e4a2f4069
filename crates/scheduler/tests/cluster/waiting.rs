//! Many clients that wait for queries of one dead scheduler.

use std::time::Duration;

use arrow::datatypes::Schema;
use futures::future::join_all;
use paceline_model::{Incarnation, QueryId, SchedulerId};
use paceline_plan::schema_to_ipc;
use paceline_proto::query_bytes;
use paceline_proto::state::record::Record as Kind;
use paceline_proto::state::{Accepted, Record, Statement};
use paceline_store::{
    Addresses, Beacon, Journal, JournalMetrics, JournalOptions, Journals, Limits, Members,
    StateLocation, StateStore, StoreMetrics,
};
use prometheus::Registry;
use uuid::Uuid;

use crate::slow_store::SlowStore;
use crate::support::Cluster;

const STATE: &str = "s3://bucket/x";
const WAITING: u128 = 50;

/// The state, as the dead one saw it.
fn state(store: &SlowStore) -> StateStore {
    let location = StateLocation::parse(STATE, &store.options(), []).unwrap();
    let metrics = StoreMetrics::register(&Registry::new()).unwrap();
    StateStore::open(&location, Limits::default(), metrics).unwrap()
}

/// A scheduler that died a moment ago. Nobody can carry its queries on: each ends with its next owner.
async fn one_dies(state: StateStore, queries: &[QueryId]) {
    let dead = SchedulerId::new("dead");
    let nowhere = "127.0.0.1:1".to_string();
    let beacon = Beacon {
        scheduler: dead.clone(),
        incarnation: Incarnation(Uuid::nil()),
        addresses: Addresses {
            cluster: nowhere.clone(),
            flight: nowhere.clone(),
            http: nowhere,
        },
        zone: String::new(),
        version: String::new(),
        beat: 1,
    };
    Members::new(state.clone()).beat(&beacon).await.unwrap();
    let metrics = JournalMetrics::register(&Registry::new()).unwrap();
    let journals = Journals::new(state, metrics);
    let journal = Journal::begin(dead, journals, JournalOptions::default());
    let accepted = |query: &QueryId| {
        let statement = Statement {
            sql: "SELECT 1".to_string(),
            result_schema: schema_to_ipc(&Schema::empty()).into(),
            ..Statement::default()
        };
        let accepted = Kind::Accepted(Accepted {
            query: query_bytes(*query),
            statement: Some(statement),
        });
        journal.append(Record {
            record: Some(accepted),
        })
    };
    let written = join_all(queries.iter().map(accepted)).await;
    assert!(written.iter().all(Result::is_ok));
}

/// Each of them looks for its query again and again until somebody has it.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_queries_of_a_dead_scheduler_reads_its_journal_with_all_others() {
    let store = SlowStore::start(Duration::from_millis(20)).await;
    let cluster = Cluster::start_with(1, 0, |options| {
        options.state = STATE.to_string();
        options.state_options = store.options();
        options.beat = Duration::from_millis(100);
        options.takeover_after = Duration::from_millis(500);
    })
    .await;
    let queries: Vec<QueryId> = (1..=WAITING).map(|n| QueryId(Uuid::from_u128(n))).collect();
    one_dies(state(&store), &queries).await;
    let before = store.lists("/journal/");
    let asked = queries.iter().map(|query| {
        let path = format!("/v1/queries/{query}");
        let cluster = &cluster;
        async move { cluster.get(0, &path).await }
    });
    let reports = tokio::time::timeout(Duration::from_secs(60), join_all(asked)).await;
    for report in reports.expect("all answers in time") {
        assert_eq!(report["state"], "failed", "{report}");
        assert_eq!(report["epoch"], 1, "{report}");
    }
    let lists = store.lists("/journal/") - before;
    assert!((lists as u128) < WAITING, "{lists} lists");
}
