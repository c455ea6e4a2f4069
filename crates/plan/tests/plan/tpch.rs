//! TPC-H: every query, cut wherever it can be, in one, three and five tasks a stage.

use std::ops::ControlFlow;
use std::path::Path;

use paceline_testkit::{Dataset, Query, Scale, tpch_queries};

use crate::support::Session;

pub(crate) fn dataset() -> Dataset {
    let scale = Scale::new(0.05).unwrap();
    Dataset::find_or_generate(Path::new(env!("CARGO_TARGET_TMPDIR")), scale, 2, &|_| {
        ControlFlow::Continue(())
    })
    .unwrap()
}

/// A session with the eight tables.
pub(crate) async fn tables() -> Session {
    let mut session = Session::new().await;
    for create in dataset().create_statements() {
        session.change(&create).await;
    }
    session
}

async fn agrees(session: &Session, query: &Query) -> Result<(), String> {
    let sql = query.sql(dataset().scale());
    // The order that the test data says must be the one that is read off the statement.
    let expected = session.expected(&sql).await?;
    assert_eq!(expected.order, query.order(), "{query}");
    let planned = session.try_check_something(&sql, &[3, 1, 5]).await;
    planned.map(drop).map_err(|e| format!("{query}: {e}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_22_queries_agree_with_one_process() {
    let session = tables().await;
    let mut failures = Vec::new();
    for query in tpch_queries() {
        if let Err(failure) = agrees(&session, &query).await {
            failures.push(failure);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
