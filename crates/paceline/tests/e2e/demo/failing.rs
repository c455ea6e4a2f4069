//! Demos that end with a failure: what they say, and that nothing of them runs on.

use std::path::Path;

use paceline::client::Flight;

use super::{SHARED, demo, no_process_is_left};
use crate::answers::reference;
use crate::support::until;
use crate::turn::Turn;

/// Where the first scheduler of a demo with that temporary directory says that it serves Flight SQL.
fn flight_address(temporary: &Path) -> Option<String> {
    let demo = std::fs::read_dir(temporary).unwrap().flatten().next()?;
    let log = std::fs::read_to_string(demo.path().join("logs/scheduler-1.log")).ok()?;
    let (_, rest) = log.split_once("flight=\"")?;
    Some(rest.split_once('"')?.0.to_string())
}

/// Has the cluster of a demo read other nations than the single DataFusion process does: those in that
/// directory.
async fn lead_astray(temporary: &Path, nations: &Path) {
    let address = until("a scheduler says where it serves", || async {
        flight_address(temporary)
    })
    .await;
    // The last one that the demo makes known.
    until("the tables are known", || async {
        let mut flight = Flight::connect(&address).await.ok()?;
        flight.run("select count(*) from region").await.ok()
    })
    .await;
    let instead = format!(
        "CREATE OR REPLACE EXTERNAL TABLE nation STORED AS PARQUET LOCATION '{}/'",
        nations.display()
    );
    let mut flight = Flight::connect(&address).await.unwrap();
    flight.run(&instead).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_answer_fails_the_demo_and_is_named() {
    let _turn = Turn::take().await;
    let others = tempfile::tempdir().unwrap();
    let renamed = format!(
        "COPY (select n_nationkey, concat('New ', n_name) as n_name, n_regionkey, n_comment \
         from nation) TO '{}' STORED AS PARQUET",
        others.path().join("part.parquet").display()
    );
    reference().await.run(&renamed).await.unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let child = demo(temporary.path(), Path::new(SHARED))
        .args(["--scale", "0.01", "--runs", "100", "--queries", "5,10"])
        .spawn()
        .unwrap();
    lead_astray(temporary.path(), others.path()).await;
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}{errors}");
    assert!(
        text.contains("WRONG") && !text.contains("2 of 2 agree"),
        "{text}"
    );
    let (_, last) = errors.split_once("paceline: ").unwrap();
    assert!(
        last.contains("did not give the answer of one DataFusion process"),
        "{errors}"
    );
    // It differs as it was made to.
    assert!(
        last.contains("Q10: scheduler ") && last.contains("New "),
        "{errors}"
    );
    // The logs of a demo that failed stay; none of its processes does.
    let (_, logs) = last
        .split_once("the logs of all processes are in ")
        .unwrap();
    let logs = Path::new(logs.trim());
    assert!(logs.starts_with(temporary.path()) && logs.join("executor-3.log").exists());
    no_process_is_left(temporary.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_demo_fails_by_the_bars_that_it_names() {
    let _turn = Turn::take().await;
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path(), Path::new(SHARED))
        .args(["--scale", "0.01", "--runs", "1", "--queries", "6"])
        // So far below its bar is nothing.
        .arg("--strict=0.001")
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}{errors}");
    assert!(text.contains("1 of 1 agree"), "{text}");
    for part in [
        "by more than a factor of 0.001",
        "all queries, against one process: ",
        "worst query, Q06, against one process: ",
        "peak memory of the executors, against one process: ",
        "median of 200 tiny queries: ",
    ] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    no_process_is_left(temporary.path()).await;
}
