//! What a dead scheduler's journal says of queries that nobody can carry on.

use arrow::datatypes::Schema;
use bytes::Bytes;
use paceline_model::{QueryId, SchedulerId};
use paceline_plan::schema_to_ipc;
use paceline_proto::query_bytes;
use paceline_proto::state::record::Record as Kind;
use paceline_proto::state::write::Into;
use paceline_proto::state::{Accepted, MoreRows, Record, StageGraph, Statement, Write};
use paceline_store::{Claims, Journal, JournalMetrics, JournalOptions, Journals};
use prometheus::Registry;

use crate::support::{Cluster, store};

/// A statement that lacks nothing but a plan.
fn statement(sql: &str) -> Statement {
    Statement {
        sql: sql.to_string(),
        result_schema: schema_to_ipc(&Schema::empty()).into(),
        ..Statement::default()
    }
}

/// Statements that cannot be carried on, what is wrong with each, and whether its outcome is durable.
fn broken() -> [(Option<Statement>, &'static str, bool); 4] {
    let kept = Statement {
        graph: Some(StageGraph::default()),
        result_schema: b"no schema".to_vec().into(),
        submitted: true,
        kept: true,
        ..statement("SELECT 2")
    };
    let rows = MoreRows {
        table: b"no id".to_vec().into(),
        ..MoreRows::default()
    };
    let write = Statement {
        graph: Some(StageGraph::default()),
        submitted: true,
        write: Some(Write {
            into: Some(Into::Append(rows)),
        }),
        ..statement("INSERT INTO t SELECT 3")
    };
    [
        (Some(statement("SELECT 1")), "graph is missing", false),
        (Some(kept), "result_schema", true),
        (Some(write), "table id", true),
        (None, "statement is missing", true),
    ]
}

/// Its owner says of each what is wrong with it, and no journal holds it for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_carried_on_ends_and_says_why() {
    let mut cluster = Cluster::start(0, 0).await;
    let store = store(&cluster.directory.path().join("state"));
    let metrics = JournalMetrics::register(&Registry::new()).unwrap();
    let journals = Journals::new(store.clone(), metrics.clone());
    let claims = Claims::new(store, metrics);
    let dead = SchedulerId::new("dead");
    let journal = Journal::begin(dead.clone(), journals.clone(), JournalOptions::default());
    let mut left = Vec::new();
    for (n, (statement, wrong, durable)) in broken().into_iter().enumerate() {
        let query = QueryId::from_slice(&[n as u8 + 1; 16]).unwrap();
        let accepted = Kind::Accepted(Accepted {
            query: query_bytes(query),
            statement,
        });
        let record = Record {
            record: Some(accepted),
        };
        journal.append(record).await.unwrap();
        left.push((query, wrong, durable));
    }
    drop(journal);

    cluster.add_scheduler(|_| {}).await;
    for (query, wrong, durable) in left {
        let path = format!("/v1/queries/{query}");
        cluster
            .until(&format!("the end of what says: {wrong}"), || async {
                cluster.get(0, &path).await["state"] == "failed"
            })
            .await;
        let report = cluster.get(0, &path).await;
        let message = report["error"]["message"].as_str().unwrap();
        assert!(message.contains(wrong), "{report}");
        assert_eq!(report["epoch"], 1, "{report}");
        let outcome = claims.outcome(query).await.unwrap();
        assert_eq!(outcome.is_some(), durable, "{report}");
        let told = outcome.and_then(|ending| ending.error);
        assert!(told.is_none_or(|told| told.message == message), "{report}");
    }
    cluster
        .until("no journal to hold any of them", || async {
            let own = journals.replay(&cluster.schedulers[0].id()).await.unwrap();
            let former = journals.replay(&dead).await.unwrap();
            former.drained && own.book.queries().next().is_none()
        })
        .await;
}

/// Nobody can tell whose it is. What the journal holds beside it is carried on, and the journal ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_names_no_query_holds_up_no_other() {
    let mut cluster = Cluster::start(0, 0).await;
    let store = store(&cluster.directory.path().join("state"));
    let metrics = JournalMetrics::register(&Registry::new()).unwrap();
    let journals = Journals::new(store, metrics);
    let dead = SchedulerId::new("dead");
    let journal = Journal::begin(dead.clone(), journals.clone(), JournalOptions::default());
    let query = QueryId::from_slice(&[7; 16]).unwrap();
    for named in [Bytes::from_static(b"no id"), query_bytes(query)] {
        let accepted = Kind::Accepted(Accepted {
            query: named,
            statement: Some(statement("SELECT 1")),
        });
        let record = Record {
            record: Some(accepted),
        };
        journal.append(record).await.unwrap();
    }
    drop(journal);

    cluster.add_scheduler(|_| {}).await;
    cluster
        .until("the journal to be drained", || async {
            journals.replay(&dead).await.unwrap().drained
        })
        .await;
    let path = format!("/v1/queries/{query}");
    let report = cluster.get(0, &path).await;
    assert_eq!(report["state"], "failed", "{report}");
    let unreadable = "paceline_journal_unreadable_records_total";
    assert_eq!(cluster.value(0, unreadable, ""), 1.0);
}
