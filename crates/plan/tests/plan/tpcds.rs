//! TPC-DS: its 99 queries, with data and texts from a Python package, because neither may be stored
//! here.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::support::Session;
use crate::tpcds_set::{self, SCALES};

/// The exit code of the script when the package is not installed.
const MISSING: i32 = 3;

/// A directory for each scale, made now unless it was made before. None if the package is absent.
fn directories() -> Option<[PathBuf; 2]> {
    let directories = SCALES.map(tpcds_set::directory);
    for (directory, scale) in directories.iter().zip(SCALES) {
        if directory.is_dir() {
            continue;
        }
        let python = std::env::var("PACELINE_PYTHON").unwrap_or("python3".to_string());
        let made = Command::new(&python)
            .arg(tpcds_set::script())
            .arg(directory)
            .arg(scale)
            .status();
        match made {
            Ok(status) if status.success() => {}
            Ok(status) if status.code() != Some(MISSING) => panic!("{python}: {status}"),
            _ => return None,
        }
    }
    Some(directories)
}

/// Runs a query, and says what is wrong with its answer or its plan.
async fn fails(session: &Session, sql: &str) -> Option<String> {
    match session.try_check_something(sql, &[3]).await {
        Ok(planned) if planned.graph.len() > 1 => None,
        Ok(_) => Some(format!("{sql}\nwas not cut")),
        Err(failure) => Some(failure),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_99_queries_agree_with_one_process() {
    let Some(directories) = directories() else {
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
    let only = std::env::var("PACELINE_TPCDS_ONLY").ok();
    let mut seen = 0;
    let mut failures = Vec::new();
    for (directory, scale) in directories.iter().zip(SCALES) {
        let mut session = Session::new().await;
        for create in tpcds_set::create_statements(directory) {
            session.change(&create).await;
        }
        for (number, sql) in tpcds_set::queries(directory, scale) {
            seen += 1;
            if only.as_ref().is_some_and(|only| *only != number) {
                continue;
            }
            let failure = fails(&session, &sql).await;
            failures.extend(failure.map(|failure| format!("Q{number}: {failure}")));
        }
    }
    assert_eq!(seen, 99);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
