//! Schemas, views and drops, and what is left of a definition when others are gone or settings change.

use std::fs;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use paceline_model::{CatalogVersion, ErrorClass};
use paceline_plan::{Catalog, Change, SessionSettings, ViewDefinition};

use super::{change, refused};
use crate::support::{fixture, settings};

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
