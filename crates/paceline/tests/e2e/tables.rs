//! Tables: what one scheduler is told, all know; formats; S3.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::answers::{agrees, reference};
use crate::left::{kept_for, nothing_is_left};
use crate::ministack::MiniStack;
use crate::support::{Running, tpch};

const FORMATS: [&str; 4] = ["PARQUET", "CSV", "JSON", "ARROW"];

/// Rows of four columns, with commas in one of them.
const NATIONS: &str = "select n_nationkey, n_name, n_regionkey, n_comment from nation";

/// Writes them in one format, as a DataFusion does that is no part of a cluster: the file, which lies
/// in a directory of its own.
async fn written_elsewhere(root: &Path, format: &str) -> PathBuf {
    let name = format!("part.{}", format.to_lowercase());
    let path = root.join(format).join(name);
    let sql = format!(
        "COPY ({NATIONS}) TO '{}' STORED AS {format}",
        path.display()
    );
    reference().await.run(&sql).await.unwrap();
    path
}

/// A table has these rows of TPC-H, and in no other types.
async fn holds(running: &Running, table: &str, rows: &str) {
    let sql = NATIONS.replace("from nation", &format!("from {table}"));
    let answer = running.flight(1).await.run(&sql).await.unwrap();
    let same = agrees(rows, &answer).await;
    same.unwrap_or_else(|difference| panic!("{table}: {difference}"));
}

async fn put(url: String, bytes: Vec<u8>) {
    let request = reqwest::Client::new().put(url).body(bytes);
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}

async fn count(running: &Running, scheduler: usize, from: &str) -> Result<i64, String> {
    let sql = format!("select count(*) from {from}");
    let answer = running.flight(scheduler).await.run(&sql).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let column = answer.batches[0].column(0);
    let column = column.as_any().downcast_ref::<arrow::array::Int64Array>();
    Ok(column.unwrap().value(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_scheduler_changes_the_other_knows_at_once() {
    let running = Running::start().await;
    let mut first = running.flight(0).await;
    let mut second = running.flight(1).await;
    let nation = tpch(0.1).location(paceline_testkit::Table::Nation);
    let nation = format!("{}/", nation.display());
    first.run("CREATE SCHEMA geo").await.unwrap();
    let create = format!("CREATE EXTERNAL TABLE geo.nation STORED AS PARQUET LOCATION '{nation}'");
    second.run(&create).await.unwrap();
    assert_eq!(count(&running, 0, "geo.nation").await, Ok(25));
    let again = first.run(&create).await.unwrap_err().to_string();
    assert!(again.contains("exists"), "{again}");
    first
        .run("CREATE VIEW geo.low AS SELECT * FROM geo.nation WHERE n_nationkey < 7")
        .await
        .unwrap();
    assert_eq!(count(&running, 1, "geo.low").await, Ok(7));
    let known = "information_schema.tables where table_schema = 'geo'";
    assert_eq!(count(&running, 1, known).await, Ok(2));
    second.run("DROP VIEW geo.low").await.unwrap();
    first.run("DROP TABLE geo.nation").await.unwrap();
    let error = count(&running, 1, "geo.nation").await.unwrap_err();
    assert!(error.contains("nation"), "{error}");
    second.run("DROP SCHEMA geo").await.unwrap();
    assert_eq!(count(&running, 0, known).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_with_a_name_is_made_once_wherever_it_is_sent() {
    let running = Running::start_with(|plan| kept_for(plan, "2s")).await;
    let send = async |scheduler, key, sql: &str| {
        let sent = running.post_named(scheduler, key, sql.to_string()).await;
        sent.unwrap()
    };
    let create = "create view v as select 1 as n";
    for scheduler in [0, 1, 1, 0] {
        let (status, body) = send(scheduler, "create", create).await;
        assert!(status.is_success(), "{status}: {body}");
    }
    let (status, body) = send(1, "another", create).await;
    assert!(
        status.is_client_error() && body.contains("exists"),
        "{body}"
    );
    for other in ["drop view v", "select 1", "create table t as select 1 as n"] {
        let (status, body) = send(1, "create", other).await;
        assert_eq!(status, reqwest::StatusCode::CONFLICT, "{body}");
    }
    // A repeat does nothing any more, whatever has become of what the first one did.
    let drop = "drop view if exists nothing";
    assert!(send(0, "drop", drop).await.0.is_success());
    let later = "create view nothing as select 2 as n";
    running.flight(0).await.run(later).await.unwrap();
    assert!(send(1, "drop", drop).await.0.is_success());
    assert_eq!(count(&running, 1, "nothing").await, Ok(1));
    nothing_is_left(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_every_format_and_of_the_configuration() {
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    std::fs::write(path("t.csv"), "a,b\n1,x\n2,y\n3,z\n").unwrap();
    std::fs::write(path("t.json"), "{\"a\":1}\n{\"a\":2}\n").unwrap();
    let numbers = arrow::array::Int64Array::from(vec![1, 2, 3, 4]);
    let batch =
        arrow::array::RecordBatch::try_from_iter([("a", std::sync::Arc::new(numbers) as _)])
            .unwrap();
    let file = std::fs::File::create(path("t.arrow")).unwrap();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(file, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let mut config = std::fs::File::create(path("p.toml")).unwrap();
    write!(
        config,
        "[[tables]]\nname = \"configured\"\nformat = \"csv\"\nlocation = \"{}\"\n\
         options = {{ \"format.has_header\" = \"true\" }}\n",
        path("t.csv")
    )
    .unwrap();
    let running = Running::start_with(|plan| {
        plan.scheduler_flags
            .extend(["--config".to_string(), path("p.toml")]);
    })
    .await;
    assert_eq!(count(&running, 0, "configured where a > 1").await, Ok(2));
    assert_eq!(count(&running, 1, "configured").await, Ok(3));
    for (format, rows) in [("json", 2), ("arrow", 4)] {
        let location = path(&format!("t.{format}"));
        let sql =
            format!("CREATE EXTERNAL TABLE {format}_t STORED AS {format} LOCATION '{location}'");
        running.flight(0).await.run(&sql).await.unwrap();
        assert_eq!(count(&running, 1, &format!("{format}_t")).await, Ok(rows));
    }
    for format in FORMATS {
        let file = written_elsewhere(files.path(), format).await;
        let location = url::Url::from_directory_path(file.parent().unwrap()).unwrap();
        assert!(location.as_str().starts_with("file:///"), "{location}");
        let table = format!("at_url_{format}");
        let sql = format!("CREATE EXTERNAL TABLE {table} STORED AS {format} LOCATION '{location}'");
        running.flight(0).await.run(&sql).await.unwrap();
        holds(&running, &table, NATIONS).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_and_state_lie_on_s3() {
    let Some(s3) = MiniStack::start().await else {
        return;
    };
    s3.make_bucket("paceline").await;
    let nation = tpch(0.1).location(paceline_testkit::Table::Nation);
    let bytes = std::fs::read(nation.join("part-0000.parquet")).unwrap();
    let bucket = format!("{}/paceline", s3.endpoint());
    put(format!("{bucket}/nation/part-0000.parquet"), bytes).await;
    let options = format!(
        "endpoint={},region=us-east-1,access_key_id=test,secret_access_key=hush,allow_http=true",
        s3.endpoint()
    );
    let running = Running::start_with(|plan| {
        plan.state = Some("s3://paceline/state".to_string());
        plan.executors = 2;
        let storage = ["--storage-options".to_string(), options.clone()];
        plan.executor_flags.extend(storage.clone());
        plan.scheduler_flags.extend(storage);
        plan.scheduler_flags
            .extend(["--state-options".to_string(), options.clone()]);
    })
    .await;
    let sql = "CREATE EXTERNAL TABLE nation STORED AS PARQUET LOCATION 's3://paceline/nation/'";
    running.flight(0).await.run(sql).await.unwrap();
    assert_eq!(count(&running, 1, "nation").await, Ok(25));
    for sql in [
        "CREATE TABLE own AS SELECT * FROM nation",
        "INSERT INTO own SELECT * FROM nation WHERE n_nationkey < 5",
        "COPY own TO 's3://paceline/copied/' STORED AS PARQUET",
        "CREATE EXTERNAL TABLE copied STORED AS PARQUET LOCATION 's3://paceline/copied/'",
    ] {
        running.flight(0).await.run(sql).await.unwrap();
    }
    let own = format!("{NATIONS} union all {NATIONS} where n_nationkey < 5");
    holds(&running, "own", &own).await;
    holds(&running, "copied", &own).await;
    for format in ["CSV", "JSON", "ARROW"] {
        for sql in [
            format!("COPY own TO 's3://paceline/{format}/' STORED AS {format}"),
            format!(
                "CREATE EXTERNAL TABLE as_{format} STORED AS {format} \
                 LOCATION 's3://paceline/{format}/'"
            ),
        ] {
            running.flight(0).await.run(&sql).await.unwrap();
        }
        holds(&running, &format!("as_{format}"), &own).await;
    }
    let files = tempfile::tempdir().unwrap();
    for format in FORMATS {
        let file = written_elsewhere(files.path(), format).await;
        let name = file.strip_prefix(files.path()).unwrap().display();
        let url = format!("{bucket}/theirs/{name}");
        put(url, std::fs::read(&file).unwrap()).await;
        let sql = format!(
            "CREATE EXTERNAL TABLE theirs_{format} STORED AS {format} \
             LOCATION 's3://paceline/theirs/{format}/'"
        );
        running.flight(0).await.run(&sql).await.unwrap();
        holds(&running, &format!("theirs_{format}"), NATIONS).await;
    }
    for entry in std::fs::read_dir(running.cluster.logs()).unwrap() {
        let log = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!log.contains("hush"), "a secret was logged");
    }
}
