//! TPC-DS: data and texts come from a Python package, because neither may be stored here.

use std::fs;
use std::path::{Path, PathBuf};

use datafusion::prelude::ParquetReadOptions;
use paceline_testkit::Reference;

use crate::answers::check;
use crate::python::{Outcome, run_script};
use crate::support::Running;

/// A directory with tables and queries, made now unless it was made before.
fn directory() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tpcds-sf0.1");
    if directory.is_dir() {
        return Some(directory);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plan/tests/tpcds.py");
    match run_script(
        &script,
        &[&directory.display().to_string(), "0.1"],
        "PACELINE_REQUIRE_TPCDS",
    ) {
        Outcome::Done => Some(directory),
        Outcome::NotInstalled => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_99_queries_agree_with_one_process() {
    let Some(directory) = directory() else {
        return;
    };
    let running = Running::start().await;
    let mut flight = running.flight(0).await;
    let reference = Reference::new(2);
    for entry in fs::read_dir(directory.join("tables")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let location = format!("{}/", path.display());
        let sql = format!("CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{location}'");
        flight.run(&sql).await.unwrap();
        let options = ParquetReadOptions::default();
        let registered = reference
            .context()
            .register_parquet(name, &location, options);
        registered.await.unwrap();
    }
    let mut files: Vec<PathBuf> = fs::read_dir(directory.join("queries"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 99);
    let mut second = running.flight(1).await;
    let mut wrong = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let sql = fs::read_to_string(file).unwrap();
        let sql = sql.trim().trim_end_matches(';');
        let door = if index % 2 == 0 {
            &mut flight
        } else {
            &mut second
        };
        let outcome = match door.run(sql).await {
            Ok(answer) => check(&reference, sql, &answer).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(problem) = outcome {
            let name = file.file_stem().unwrap().to_string_lossy();
            wrong.push(format!("Q{name}: {problem}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
