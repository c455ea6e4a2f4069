//! Texts that are no statement, several, one that is not built, or one that is too deep.

use paceline_model::ErrorClass;

use super::refused;
use crate::support::{fixture, with_serving_stack};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_built_says_so() {
    let session = fixture().await;
    for (sql, words) in [
        (
            "SET datafusion.execution.batch_size = 10",
            &["settings"][..],
        ),
        ("RESET datafusion.execution.batch_size", &["settings"]),
        ("DELETE FROM few", &["DELETE"]),
        ("UPDATE few SET k = 1", &["UPDATE"]),
        ("CREATE DATABASE d", &["not supported"]),
        ("CREATE INDEX i ON few (id)", &["not supported"]),
        ("BEGIN", &["nsupported"]),
        ("PREPARE p AS SELECT 1", &["not supported", "parameters"]),
        ("EXPLAIN CREATE VIEW v AS SELECT 1", &["EXPLAIN"]),
        ("EXPLAIN ANALYZE CREATE VIEW v AS SELECT 1", &["EXPLAIN"]),
    ] {
        refused(&session, sql, ErrorClass::Unsupported, words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_statement_at_a_time() {
    let session = fixture().await;
    let user = ErrorClass::User;
    for empty in ["", "  \n", ";", "-- nothing"] {
        refused(&session, empty, user, &["no statement"]).await;
    }
    refused(&session, "SELECT 1; SELECT 2", user, &["one statement"]).await;
    refused(
        &session,
        "SELECT id FROM many; DROP TABLE many",
        user,
        &["one statement"],
    )
    .await;
    refused(&session, "SELEC 1", user, &["SELEC"]).await;
    refused(&session, "SELECT id FROM many WHERE", user, &["xpected"]).await;
    refused(&session, "SELECT * FROM nowhere", user, &["nowhere"]).await;
    refused(&session, "SELECT nope FROM many", user, &["nope"]).await;
    refused(
        &session,
        "SELECT no_function(id) FROM many",
        user,
        &["no_function"],
    )
    .await;
    let deep = format!("SELECT {}1{}", "(".repeat(3000), ")".repeat(3000));
    refused(&session, &deep, user, &["ecursion"]).await;
    assert!(session.plan("SELECT 1 -- done\n;").await.is_ok());
}

/// So many terms, with something between them.
fn chain(terms: usize, between: &[&str], term: impl Fn(usize) -> String) -> String {
    let mut text = term(0);
    for n in 1..terms {
        text.push_str(between[n % between.len()]);
        text.push_str(&term(n));
    }
    text
}

/// A stack that overflows would end the process, and this test with it.
#[test]
fn deep_statements_are_planned_or_refused() {
    with_serving_stack(|| async {
        let session = fixture().await;
        let both = |n: usize| format!("(k = {n} AND n = {n})");
        let ors = |terms: usize| {
            let terms = chain(terms, &[" OR "], both);
            format!("SELECT count(*) FROM many WHERE {terms}")
        };
        let sums = |terms: usize, between: &[&str]| {
            let terms = chain(terms, between, |_| "id".to_string());
            format!("SELECT sum({terms}) FROM many")
        };
        let selects = |terms: usize| chain(terms, &[" UNION ALL "], |n| format!("SELECT {n}"));
        let likes = chain(3000, &[" OR "], |n| format!("s LIKE '%{n}%'"));
        let texts = chain(3000, &[" || "], |_| "s".to_string());
        let joins = chain(3000, &[" CROSS JOIN "], |n| format!("single AS s{n}"));
        let tables = chain(1500, &[", "], |n| match n {
            0 => "t0 AS (SELECT id FROM single)".to_string(),
            n => format!("t{n} AS (SELECT id + 1 AS id FROM t{} WHERE id > 0)", n - 1),
        });
        for (kind, sql) in [
            ("OR", ors(3000)),
            ("OR, far more", ors(100_000)),
            ("LIKE", format!("SELECT count(*) FROM many WHERE {likes}")),
            ("+", sums(3000, &[" + "])),
            ("+, far more", sums(200_000, &["+"])),
            ("+ and -", sums(500, &[" - ", " + "])),
            ("+ and -, more", sums(3000, &[" - ", " + "])),
            ("||", format!("SELECT max({texts}) FROM many")),
            ("UNION", selects(1000)),
            ("UNION, far more", selects(200_000)),
            ("JOIN", format!("SELECT 1 FROM {joins}")),
            ("WITH", format!("WITH {tables} SELECT * FROM t1499")),
            ("EXPLAIN", format!("{}SELECT 1", "EXPLAIN ".repeat(100_000))),
            (
                "[1]",
                format!("SELECT arr{} FROM many", "[1]".repeat(100_000)),
            ),
            (
                "[]",
                format!("SELECT CAST(1 AS INT{})", "[]".repeat(100_000)),
            ),
        ] {
            if let Err(error) = session.plan(&sql).await {
                let known = matches!(error.class, ErrorClass::User | ErrorClass::Unsupported);
                let message: String = error.message.chars().take(1000).collect();
                assert!(known, "{kind}: {}: {message}", error.class);
            }
        }
        for sql in [ors(100_000), sums(200_000, &["+"]), selects(200_000)] {
            refused(&session, &sql, ErrorClass::User, &["too deeply", "VALUES"]).await;
        }
        for sql in [ors(1000), selects(500), sums(300, &[" - ", " + "])] {
            assert!(session.plan(&sql).await.is_ok());
        }
        // Long is not deep.
        let values = chain(20_000, &[", "], |n| format!("({n} + 1, -{n})"));
        let values = format!("SELECT count(*) FROM (VALUES {values})");
        assert!(session.plan(&values).await.is_ok());
    });
}
