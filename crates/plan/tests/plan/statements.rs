//! Statements that are no queries, and those that are refused.

use std::fs;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use paceline_model::{CatalogVersion, ErrorClass, QueryError};
use paceline_plan::{
    Catalog, Change, Planned, SessionSettings, TableDefinition, ViewDefinition, default_settings,
};

use crate::support::{Session, fixture, settings, with_serving_stack};

async fn change(session: &Session, sql: &str) -> Change {
    match session.plan(sql).await {
        Ok(Planned::Change(change)) => change,
        other => panic!("{sql}: {other:?}"),
    }
}

/// The statement is refused with that class and a message that has all those words.
async fn refused(session: &Session, sql: &str, class: ErrorClass, words: &[&str]) {
    let error = match session.plan(sql).await {
        Err(error) => error,
        Ok(planned) => panic!("{sql} was accepted: {planned:?}"),
    };
    assert_eq!(error.class, class, "{sql}: {error}");
    for word in words {
        assert!(
            error.message.contains(word),
            "{sql}: '{word}' is not in: {error}"
        );
    }
    assert!(!error.message.contains("hunter2"), "{error}");
}

fn table(change: Change) -> TableDefinition {
    match change {
        Change::CreateTable { table, .. } => table,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn external_tables() {
    let session = Session::new().await;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display();
    for format in ["PARQUET", "CSV", "JSON", "ARROW"] {
        let copy = format!(
            "COPY (SELECT value AS id, 'x' AS name FROM generate_series(1, 5)) \
             TO '{root}/{format}/part-0.{}' STORED AS {format}",
            format.to_lowercase()
        );
        session.reference.run(&copy).await.unwrap();
        let sql = format!(
            "CREATE EXTERNAL TABLE IF NOT EXISTS t STORED AS {format} LOCATION '{root}/{format}/' ;"
        );
        let created = change(&session, &sql).await;
        assert!(matches!(
            created,
            Change::CreateTable {
                if_not_exists: true,
                or_replace: false,
                ..
            }
        ));
        let found = table(created);
        assert_eq!(
            (found.schema.as_str(), found.name.as_str()),
            ("public", "t")
        );
        assert_eq!(
            found.columns.field(0).data_type(),
            &DataType::Int64,
            "{format}"
        );
        assert_eq!(found.columns.fields().len(), 2, "{format}");
        assert!(
            found.sql.ends_with(&format!("LOCATION '{root}/{format}/'")),
            "{}",
            found.sql
        );

        let sql = format!(
            "CREATE OR REPLACE EXTERNAL TABLE paceline.public.T2 (id INT NOT NULL, name VARCHAR) \
             STORED AS {format} LOCATION '{root}/{format}/'"
        );
        let created = change(&session, &sql).await;
        assert!(matches!(
            created,
            Change::CreateTable {
                or_replace: true,
                ..
            }
        ));
        let given = table(created);
        assert_eq!(given.name, "t2");
        assert_eq!(
            given.columns.field(0).data_type(),
            &DataType::Int32,
            "{format}"
        );
        assert!(!given.columns.field(0).is_nullable());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partition_columns_belong_to_the_table() {
    let session = Session::new().await;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display();
    let copy = format!(
        "COPY (SELECT value AS id, value % 2 AS half FROM generate_series(1, 5)) \
         TO '{root}/t/' STORED AS PARQUET PARTITIONED BY (half)"
    );
    session.reference.run(&copy).await.unwrap();
    let sql = format!(
        "CREATE EXTERNAL TABLE t STORED AS PARQUET PARTITIONED BY (half) LOCATION '{root}/t/'"
    );
    let found = table(change(&session, &sql).await);
    assert!(
        found.columns.index_of("half").is_ok(),
        "{:?}",
        found.columns
    );
    let sql = format!(
        "CREATE EXTERNAL TABLE t STORED AS PARQUET PARTITIONED BY (other) LOCATION '{root}/t/'"
    );
    refused(&session, &sql, ErrorClass::User, &["other"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_cannot_be() {
    let session = Session::new().await;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display().to_string();
    fs::create_dir(directory.path().join("empty")).unwrap();
    fs::write(
        directory.path().join("bad.parquet"),
        b"this is no Parquet file at all",
    )
    .unwrap();
    let create = |rest: &str| format!("CREATE EXTERNAL TABLE t {rest}");
    let user = ErrorClass::User;
    for (rest, words) in [
        (
            format!("STORED AS PARQUET LOCATION '{root}/nowhere/'"),
            vec!["nowhere"],
        ),
        (
            format!("STORED AS PARQUET LOCATION '{root}/nowhere.parquet'"),
            vec!["nowhere.parquet"],
        ),
        (
            format!("STORED AS PARQUET LOCATION '{root}/empty/'"),
            vec!["empty", "No files"],
        ),
        (
            format!("STORED AS PARQUET LOCATION '{root}/bad.parquet'"),
            vec!["bad.parquet"],
        ),
        ("STORED AS PARQUET".to_string(), vec!["LOCATION"]),
        (format!("LOCATION '{root}/x/'"), vec!["STORED AS"]),
        (format!("STORED AS XLSX LOCATION '{root}/x/'"), vec!["XLSX"]),
        (
            "STORED AS PARQUET LOCATION 'ftp://host/x/'".to_string(),
            vec!["'ftp'"],
        ),
        (
            "STORED AS PARQUET LOCATION 'data/x/'".to_string(),
            vec!["data/x/", "absolute"],
        ),
        (
            "STORED AS PARQUET LOCATION 's3://key:hunter2@bucket/x/'".to_string(),
            vec!["password"],
        ),
        (
            format!(
                "STORED AS PARQUET LOCATION '{root}/' OPTIONS ('aws.secret_access_key' 'hunter2')"
            ),
            vec!["aws.secret_access_key", "environment"],
        ),
        (
            format!("STORED AS PARQUET LOCATION '{root}/' OPTIONS ('SESSION_TOKEN' 'hunter2')"),
            vec!["session_token"],
        ),
        (
            format!(
                "STORED AS PARQUET LOCATION '{root}/' OPTIONS ('format.crypto.file_decryption.footer_key_as_hex' 'hunter2')"
            ),
            vec!["footer_key_as_hex"],
        ),
        (
            format!("STORED AS CSV LOCATION '{root}/empty/' OPTIONS ('format.no_such' 'x')"),
            vec!["no_such"],
        ),
    ] {
        refused(&session, &create(&rest), user, &words).await;
    }
    refused(
        &session,
        &format!(
            "CREATE UNBOUNDED EXTERNAL TABLE t (a INT) STORED AS CSV LOCATION '{root}/empty/'"
        ),
        user,
        &["UNBOUNDED"],
    )
    .await;
    refused(
        &session,
        &format!("CREATE EXTERNAL TABLE other.public.t STORED AS PARQUET LOCATION '{root}/'"),
        user,
        &["no catalog 'other'"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_views_and_drops() {
    let session = fixture().await;
    let view = |schema: &str, name: &str, sql: &str, or_replace: bool| Change::CreateView {
        view: ViewDefinition {
            schema: schema.to_string(),
            name: name.to_string(),
            sql: sql.to_string(),
            settings: SessionSettings::default(),
        },
        or_replace,
    };
    let sql = "CREATE VIEW v AS SELECT id FROM many";
    assert_eq!(change(&session, sql).await, view("public", "v", sql, false));
    let sql = "CREATE OR REPLACE VIEW s.v (a) AS SELECT id FROM many";
    assert_eq!(
        change(&session, &format!("  {sql}\n; ")).await,
        view("s", "v", sql, true)
    );
    assert_eq!(
        change(&session, "CREATE SCHEMA IF NOT EXISTS s").await,
        Change::CreateSchema {
            name: "s".to_string(),
            if_not_exists: true
        }
    );
    assert_eq!(
        change(&session, "DROP SCHEMA IF EXISTS s CASCADE").await,
        Change::DropSchema {
            name: "s".to_string(),
            if_exists: true,
            cascade: true
        }
    );
    assert_eq!(
        change(&session, "DROP SCHEMA paceline.s").await,
        Change::DropSchema {
            name: "s".to_string(),
            if_exists: false,
            cascade: false
        }
    );
    let (schema, name) = ("public".to_string(), "many".to_string());
    assert_eq!(
        change(&session, "DROP TABLE many").await,
        Change::DropTable {
            schema: schema.clone(),
            name,
            if_exists: false
        }
    );
    let name = "grouped".to_string();
    assert_eq!(
        change(&session, "DROP VIEW IF EXISTS grouped").await,
        Change::DropView {
            schema,
            name,
            if_exists: true
        }
    );
    let user = ErrorClass::User;
    refused(
        &session,
        "CREATE VIEW v AS SELECT nope FROM many",
        user,
        &["nope"],
    )
    .await;
    refused(
        &session,
        "CREATE VIEW v AS SELECT * FROM nowhere",
        user,
        &["nowhere"],
    )
    .await;
    refused(
        &session,
        "CREATE TEMPORARY VIEW v AS SELECT 1",
        user,
        &["TEMPORARY"],
    )
    .await;
    for elsewhere in ["CREATE SCHEMA other.s", "DROP SCHEMA other.s CASCADE"] {
        refused(&session, elsewhere, user, &["no catalog 'other'"]).await;
    }
    let mut elsewhere = session;
    elsewhere.settings = settings([("datafusion.catalog.default_catalog", "other")]);
    for sql in ["CREATE SCHEMA s", "DROP SCHEMA s"] {
        refused(&elsewhere, sql, user, &["no catalog 'other'"]).await;
    }
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters() {
    let session = fixture().await;
    let planner = session.planner(paceline_model::ByteSize(0));
    let sql = "SELECT id, $2 AS name FROM many WHERE id = $1";
    let (schema, parameters) = planner
        .describe(sql, &session.settings, &session.catalog)
        .await
        .unwrap();
    assert_eq!(schema.fields().len(), 2);
    assert_eq!(parameters[0], ("$1".to_string(), Some(DataType::Int64)));
    assert_eq!(parameters[1].0, "$2");
    let bound = vec![ScalarValue::Int64(Some(7)), ScalarValue::from("seven")];
    let planned = planner
        .plan(sql, bound, &session.settings, &session.catalog, &[2, 2])
        .await;
    let Ok(Planned::Query(query)) = planned else {
        panic!("{planned:?}");
    };
    let ran = session.run(&query, 3).await.unwrap();
    let batch = ran
        .batches
        .iter()
        .find(|batch| batch.num_rows() == 1)
        .unwrap();
    let name = arrow::compute::cast(batch.column(1), &DataType::Utf8).unwrap();
    assert_eq!(name.as_string::<i32>().value(0), "seven");
    refused(&session, sql, ErrorClass::User, &["$1"]).await;
    let few = vec![ScalarValue::Int64(Some(7))];
    let planned = planner
        .plan(sql, few, &session.settings, &session.catalog, &[2, 2])
        .await;
    assert_eq!(planned.unwrap_err().class, ErrorClass::User);
}

/// Nobody has a value for them who uses the view.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_have_no_parameters() {
    let session = fixture().await;
    let planner = session.planner(paceline_model::ByteSize(0));
    for sql in [
        "CREATE VIEW v AS SELECT id FROM many WHERE id = $1",
        "CREATE VIEW v AS SELECT id FROM many WHERE id IN (SELECT id FROM few WHERE id = ?)",
    ] {
        let words = ["no parameters", "'$1'"];
        refused(&session, sql, ErrorClass::User, &words).await;
        let bound = vec![ScalarValue::Int64(Some(7))];
        let planned = planner
            .plan(sql, bound, &session.settings, &session.catalog, &[2, 2])
            .await;
        assert_eq!(planned.unwrap_err().class, ErrorClass::User, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn question_marks_are_parameters_in_the_order_of_the_text() {
    let mut session = fixture().await;
    let planner = session.planner(paceline_model::ByteSize(0));
    let sql = "SELECT id, ? AS name, '?' AS mark FROM many WHERE id = ? -- ?";
    let (_, parameters) = planner
        .describe(sql, &session.settings, &session.catalog)
        .await
        .unwrap();
    let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["$1", "$2"]);
    assert_eq!(parameters[1].1, Some(DataType::Int64));
    let bound = vec![ScalarValue::from("seven"), ScalarValue::Int64(Some(7))];
    let planned = planner
        .plan(sql, bound, &session.settings, &session.catalog, &[2, 2])
        .await;
    let Ok(Planned::Query(query)) = planned else {
        panic!("{planned:?}");
    };
    let ran = session.run(&query, 3).await.unwrap();
    let rows: usize = ran.batches.iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(rows, 1);
    let both = "SELECT id FROM many WHERE id = ? OR id = $2";
    refused(&session, both, ErrorClass::User, &["'?'", "'$2'"]).await;
    // It is an operator there.
    session.settings = settings([("datafusion.sql_parser.dialect", "PostgreSQL")]);
    let (_, parameters) = planner
        .describe(
            "SELECT id FROM many WHERE id = $1",
            &session.settings,
            &session.catalog,
        )
        .await
        .unwrap();
    assert_eq!(parameters.len(), 1);
    refused(&session, sql, ErrorClass::User, &["xpected"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_checked() {
    let mut session = fixture().await;
    for (name, value, words) in [
        ("datafusion.no.such", "1", "no"),
        ("datafusion.execution.batch_size", "many", "many"),
        ("shell", "zsh", "there is no setting 'shell'"),
        (
            "paceline.small_plan_bytes",
            "huge",
            "paceline.small_plan_bytes",
        ),
        (
            "datafusion.sql_parser.recursion_limit",
            "100000",
            "at most 50",
        ),
    ] {
        session.settings = settings([(name, value)]);
        assert!(session.settings.validate().is_err(), "{name}");
        refused(&session, "SELECT id FROM many", ErrorClass::User, &[words]).await;
    }
    assert!(
        settings([("datafusion.execution.batch_size", "100")])
            .validate()
            .is_ok()
    );
    let known = default_settings();
    assert!(
        known
            .iter()
            .any(|(name, value)| name == "datafusion.execution.batch_size" && value == "8192")
    );
}

/// A table whose files are gone, and a view of what is not there any more, trouble nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_used_leaves_the_rest_alone() {
    let mut session = fixture().await;
    session
        .change_here("CREATE VIEW of_few AS SELECT id FROM few")
        .await;
    session.change_here("DROP TABLE few").await;
    session.check("SELECT count(*) FROM many").await;
    refused(
        &session,
        "SELECT * FROM of_few",
        ErrorClass::User,
        &["of_few", "few"],
    )
    .await;
    refused(
        &session,
        "SELECT id FROM of_few",
        ErrorClass::User,
        &["of_few"],
    )
    .await;
    let catalog = Catalog::build(
        &session.engine,
        CatalogVersion(9),
        &[],
        &[],
        &[ViewDefinition {
            schema: "public".to_string(),
            name: "broken".to_string(),
            sql: "no statement".to_string(),
            settings: SessionSettings::default(),
        }],
        None,
    )
    .await
    .unwrap();
    assert_eq!(catalog.version(), CatalogVersion(9));
}

/// What a view or a table means is what it meant to who made it, whoever asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_keep_the_settings_that_they_were_written_under() {
    let mut session = fixture().await;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display().to_string();
    fs::write(directory.path().join("a.csv"), "id,name\n1,one\n2,two\n").unwrap();
    let plain = session.settings.clone();
    session.change_here("CREATE SCHEMA a").await;
    session
        .change_here("CREATE VIEW a.few AS SELECT id FROM single")
        .await;
    session.settings = settings([
        ("datafusion.catalog.default_schema", "a"),
        ("datafusion.sql_parser.enable_ident_normalization", "false"),
    ]);
    session
        .change_here("CREATE VIEW counted AS SELECT count(*) AS C FROM few")
        .await;
    session
        .change_here(&format!(
            "CREATE EXTERNAL TABLE Lines STORED AS CSV LOCATION '{root}/'"
        ))
        .await;
    session.settings = plain;
    // Another process knows nothing but the definitions.
    session.reopen().await;
    for (sql, rows) in [
        ("SELECT \"C\" FROM a.counted", 21),
        ("SELECT count(*) FROM few", 121),
        ("SELECT count(id) FROM a.\"Lines\"", 2),
    ] {
        let query = session.staged(sql).await;
        let ran = session.run(&query, 1).await.unwrap();
        let batch = ran.batches.iter().find(|batch| batch.num_rows() == 1);
        let count = batch.unwrap().column(0).as_primitive::<Int64Type>();
        assert_eq!(count.value(0), rows, "{sql}");
    }
}

/// Files that come and go after a table was created are seen, or missed by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_change() -> Result<(), QueryError> {
    let mut session = Session::new().await;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let write = async |session: &Session, file: &str, rows: u32| {
        let copy = format!(
            "COPY (SELECT value AS id FROM generate_series(1, {rows})) TO '{}' STORED AS PARQUET",
            root.join(file).display()
        );
        session.reference.run(&copy).await.unwrap();
    };
    write(&session, "t/a.parquet", 10).await;
    let create = format!(
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{}/t/'",
        root.display()
    );
    session.change(&create).await;
    session.check("SELECT count(*), sum(id) FROM t").await;
    write(&session, "t/b.parquet", 100).await;
    let query = session.staged("SELECT id FROM t WHERE id > 0").await;
    let ran = session.run(&query, 3).await?;
    assert_eq!(ran.rows(query.graph.len() - 1), 110);

    // Planned with a file that is gone when it runs.
    fs::remove_file(root.join("t/b.parquet")).unwrap();
    let Err(error) = session.run(&query, 3).await else {
        panic!("a missing file was not missed");
    };
    assert_eq!(error.class, ErrorClass::User, "{error}");
    assert!(error.message.contains("b.parquet"), "{error}");
    assert!(Path::new(root).exists());
    Ok(())
}
