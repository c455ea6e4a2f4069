//! The stages of TPC-H's queries, as they are.

use paceline_model::{ByteSize, StageGraph};
use paceline_plan::{Planned, QueryPlan};
use paceline_testkit::tpch_queries;

use crate::support::{SLOTS, Session, describe};
use crate::tpch::{dataset, tables};

/// Without paths and byte ranges, which differ from machine to machine.
fn portable(graph: &StageGraph) -> String {
    let text = describe(graph);
    let mut portable = String::new();
    let mut rest = text.as_str();
    while let Some((before, files)) = rest.split_once("file_groups={") {
        portable.push_str(before);
        let (groups, after) = files.split_once(": [").unwrap_or((files, ""));
        portable.push_str(&format!("file_groups={{{groups}}}"));
        rest = after.split_once("]}").map_or("", |(_, rest)| rest);
    }
    portable + rest
}

/// Small enough for most queries to be cut, and not all of them.
const SMALL: ByteSize = ByteSize(8 << 10);

async fn plan(session: &Session, sql: &str) -> QueryPlan {
    match session.plan_for(sql, SMALL, &SLOTS).await {
        Ok(Planned::Query(query)) => query,
        other => panic!("{sql}\n{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stages_of_tpch_are_these() {
    let session = tables().await;
    for query in tpch_queries() {
        let sql = query.sql(dataset().scale());
        let staged = plan(&session, &sql).await;
        insta::assert_snapshot!(query.to_string(), portable(&staged.graph));
        let again = plan(&session, &sql).await;
        assert_eq!(describe(&staged.graph), describe(&again.graph), "{query}");
    }
}
