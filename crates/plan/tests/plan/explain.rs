//! EXPLAIN and EXPLAIN ANALYZE.

use arrow::array::{AsArray, RecordBatch};
use paceline_plan::{Planned, analyzed_rows, explain_schema};
use paceline_testkit::tpch_queries;

use crate::support::{Session, fixture};
use crate::tpch::{dataset, tables};

fn text(batch: &RecordBatch, kind: &str) -> String {
    let (kinds, plans) = (
        batch.column(0).as_string::<i32>(),
        batch.column(1).as_string::<i32>(),
    );
    let row = (0..batch.num_rows()).find(|&row| kinds.value(row) == kind);
    let row = row.unwrap_or_else(|| panic!("no {kind} in {kinds:?}"));
    plans.value(row).to_string()
}

/// What `EXPLAIN ANALYZE` shows after three tasks of each stage.
async fn analyzed(session: &Session, sql: &str) -> String {
    let planned = session.plan(&format!("EXPLAIN ANALYZE {sql}")).await;
    let Ok(Planned::Query(query)) = planned else {
        panic!("{sql}: {planned:?}");
    };
    let ran = session.run(&query, 3).await.unwrap();
    let analyzed = analyzed_rows(&query.graph, &ran.progress, &ran.metrics);
    text(&analyzed, "stages with metrics")
}

const JOINED: &str = "SELECT m.s, count(*) FROM many m JOIN few f ON m.k = f.k \
                      WHERE m.id > (SELECT avg(id) FROM few) GROUP BY m.s ORDER BY m.s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_shows_the_stages() {
    let session = fixture().await;
    let graph = session.staged(JOINED).await.graph;
    for explain in ["EXPLAIN", "EXPLAIN VERBOSE"] {
        let planned = session.plan(&format!("{explain} {JOINED}")).await;
        let Ok(Planned::Rows { schema, batches }) = planned else {
            panic!("{planned:?}");
        };
        assert_eq!(schema, explain_schema());
        let logical = text(&batches[0], "logical_plan");
        assert!(logical.contains("TableScan: many"), "{logical}");
        let stages = text(&batches[0], "stages");
        for stage in graph.stages() {
            let heading = format!("stage {}: partitions={}", stage.id, stage.partitions);
            assert!(stages.contains(&heading), "{stages}");
            for line in stage.text.lines() {
                assert!(stages.contains(line), "{line}\nis not in\n{stages}");
            }
        }
        assert!(
            stages.contains("exchange=hash(6)") && stages.contains("result"),
            "{stages}"
        );
    }
    let small = session
        .plan_for(
            &format!("EXPLAIN {JOINED}"),
            paceline_model::ByteSize::mib(32),
            &[2, 2],
        )
        .await;
    let Ok(Planned::Rows { batches, .. }) = small else {
        panic!("{small:?}");
    };
    let stages = text(&batches[0], "stages");
    assert!(
        stages.contains("stage 0:") && !stages.contains("stage 1:"),
        "{stages}"
    );
    assert!(stages.contains("one task"), "{stages}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_analyze_counts_over_all_tasks() {
    let session = fixture().await;
    for (sql, counted) in [
        (JOINED, vec!["SortPreservingMergeExec", "HashJoinExec"]),
        (
            "SELECT id FROM many UNION ALL SELECT 1 UNION ALL SELECT k FROM few",
            vec!["UnionExec"],
        ),
        (
            "SELECT DISTINCT k FROM many",
            vec!["AggregateExec: mode=Partial", "DataSourceExec"],
        ),
    ] {
        let planned = session.plan(&format!("EXPLAIN ANALYZE {sql}")).await;
        let Ok(Planned::Query(query)) = planned else {
            panic!("{planned:?}");
        };
        assert!(query.analyze);
        assert_eq!(query.schema, explain_schema());
        let ran = session.run(&query, 3).await.unwrap();
        let expected = session.expected(sql).await.unwrap();
        let rows: usize = expected.batches.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(ran.rows(query.graph.len() - 1), rows as u64);

        let analyzed = analyzed_rows(&query.graph, &ran.progress, &ran.metrics);
        let stages = text(&analyzed, "stages with metrics");
        for operator in counted {
            let line = stages.lines().find(|line| line.contains(operator));
            let line = line.unwrap_or_else(|| panic!("{operator} is not in\n{stages}"));
            assert!(line.contains("output_rows="), "{line}");
        }
        assert!(stages.contains("tasks=3"), "{stages}");
        // The top operator of the last stage left what the query did, in all its tasks together.
        let top = stages.lines().nth(2).unwrap();
        assert!(
            top.contains(&format!("output_rows={rows}")),
            "{rows} rows:\n{stages}"
        );
    }
}

/// Lines of a plan on which nothing is counted: what ends a stage is no operator, and the others have no
/// metrics in DataFusion.
const UNCOUNTED: [&str; 5] = [
    "ExchangeWriteExec",
    "ScalarSubqueryExec",
    "PlaceholderRowExec",
    "EmptyExec",
    // Rows that lie in the plan.
    "DataSourceExec: partitions=",
];

/// Those of these lines that are there; fails at any other one without a count of rows.
fn uncounted(sql: &str, stages: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    // Each turn of a recursion runs a copy of what is below it.
    let mut recursion = None;
    for line in stages.lines().filter(|line| !line.starts_with("stage ")) {
        let operator = line.trim_start();
        let indent = line.len() - operator.len();
        if recursion.is_some_and(|above| indent > above) {
            continue;
        }
        recursion = operator.starts_with("RecursiveQueryExec").then_some(indent);
        if !line.contains("output_rows=") {
            let mut known = UNCOUNTED.into_iter();
            let name = known.find(|name| operator.starts_with(*name));
            found.push(name.unwrap_or_else(|| panic!("{sql}\n{line}\nin {stages}")));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_analyze_counts_the_rows_of_every_operator() {
    let mut found = Vec::new();
    let session = tables().await;
    for query in tpch_queries() {
        let sql = query.sql(dataset().scale());
        found.extend(uncounted(&sql, &analyzed(&session, &sql).await));
    }
    let session = fixture().await;
    for (sql, operator) in [
        ("SELECT id FROM many UNION ALL SELECT 1", "UnionExec"),
        (
            "SELECT id, row_number() OVER (PARTITION BY k ORDER BY id) FROM many",
            "BoundedWindowAggExec",
        ),
        (
            "SELECT id, sum(n) OVER (PARTITION BY k) FROM many",
            "WindowAggExec",
        ),
        (
            "SELECT count(*) FROM many a JOIN few b ON a.k < b.k",
            "NestedLoopJoinExec",
        ),
        (
            "SELECT a.id, b.id FROM few a CROSS JOIN single b",
            "CrossJoinExec",
        ),
        ("SELECT id, unnest(arr) AS x FROM many", "UnnestExec"),
        ("SELECT id FROM many LIMIT 10 OFFSET 5", "GlobalLimitExec"),
        ("SELECT id FROM many ORDER BY n LIMIT 10", "SortExec: TopK"),
        (
            "SELECT v.a, count(m.id) FROM (VALUES (1), (2)) AS v(a) LEFT JOIN many m ON m.k = v.a GROUP BY v.a",
            "AggregateExec",
        ),
        (
            "SELECT value FROM generate_series(1, 10000) WHERE value % 7 = 0",
            "FilterExec",
        ),
        ("SELECT id FROM many WHERE false", "EmptyExec"),
        (
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 10) SELECT n FROM t",
            "RecursiveQueryExec",
        ),
    ] {
        let stages = analyzed(&session, sql).await;
        assert!(stages.contains(operator), "no {operator}:\n{stages}");
        found.extend(uncounted(sql, &stages));
    }
    for name in UNCOUNTED {
        assert!(found.contains(&name), "{name} was not seen");
    }
}
