//! External tables: those that can be created, those that cannot, and files that come and go.

use std::fs;
use std::path::Path;

use arrow::datatypes::DataType;
use paceline_model::{ErrorClass, QueryError};
use paceline_plan::{Change, TableDefinition};

use super::{change, refused};
use crate::support::Session;

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
