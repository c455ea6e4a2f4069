//! TPC-DS: its 99 queries, with data and texts from a Python package, because neither may be stored
//! here.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Session;

const SCALE: &str = "0.1";
/// The exit code of the script when the package is not installed.
const MISSING: i32 = 3;

/// A directory prepared by `tpcds.py`, made now unless it was made before or is named by
/// `PACELINE_TPCDS`. None if the package is absent.
fn directory() -> Option<PathBuf> {
    if let Some(prepared) = std::env::var_os("PACELINE_TPCDS") {
        return Some(PathBuf::from(prepared));
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tpcds-sf{SCALE}"));
    if directory.is_dir() {
        return Some(directory);
    }
    let python = std::env::var("PACELINE_PYTHON").unwrap_or("python3".to_string());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tpcds.py");
    let made = Command::new(&python)
        .arg(script)
        .arg(&directory)
        .arg(SCALE)
        .status();
    match made {
        Ok(status) if status.success() => Some(directory),
        Ok(status) if status.code() != Some(MISSING) => panic!("{python}: {status}"),
        _ => None,
    }
}

/// The texts by number.
fn queries(directory: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(directory.join("queries")).unwrap();
    let texts = files.map(|file| {
        let path = file.unwrap().path();
        let number = path.file_stem().unwrap().to_str().unwrap().to_string();
        (number, fs::read_to_string(path).unwrap())
    });
    texts.collect()
}

async fn tables(directory: &Path) -> Session {
    let mut session = Session::new().await;
    for table in fs::read_dir(directory.join("tables")).unwrap() {
        let path = table.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let create = format!(
            "CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{}/'",
            path.display()
        );
        session.change(&create).await;
    }
    session
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_99_queries_agree_with_one_process() {
    let Some(directory) = directory() else {
        assert!(
            std::env::var("PACELINE_REQUIRE_TPCDS").as_deref() != Ok("1"),
            "PACELINE_REQUIRE_TPCDS=1, but the packages of tests/tpcds.py are not installed"
        );
        // Past the test harness, which shows nothing of a test that passes.
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: TPC-DS needs `pip install duckdb==1.5.5 duckdb-extension-tpcds==1.5.5` \
             (PACELINE_PYTHON names the interpreter, PACELINE_REQUIRE_TPCDS=1 makes this a failure)"
        );
        return;
    };
    let session = tables(&directory).await;
    let queries = queries(&directory);
    assert_eq!(queries.len(), 99);
    let only = std::env::var("PACELINE_TPCDS_ONLY").ok();
    let mut failures = Vec::new();
    for (number, sql) in &queries {
        if only.as_ref().is_some_and(|only| only != number) {
            continue;
        }
        if let Err(failure) = session.try_check(sql, &[3]).await {
            failures.push(format!("Q{number}: {failure}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
