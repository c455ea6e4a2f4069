//! What executors that are no more had begun to write where others look.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::flight::flight;
use crate::support::Cluster;

/// Leaves a file as a process does that is killed while it writes.
fn begin(path: &Path) {
    std::fs::write(path, "a\n1").unwrap();
}

/// The directory's client writes beside the name that a file is to have, under a number.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_beside_the_files_of_a_copy_goes_when_that_ends() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("x.csv");
    let earlier = out.path().join("x.csv#7");
    begin(&earlier);
    let long_ago = File::options().write(true).open(&earlier).unwrap();
    long_ago.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let mut cluster = Cluster::start_with(1, 0, |options| {
        options.no_executor_grace = Duration::from_secs(3600);
    })
    .await;
    // One runs by itself, and somebody waits for the other one.
    let location = out.path().display();
    let sql = format!("COPY (SELECT 1 AS a) TO '{location}/' STORED AS CSV");
    let (status, text) = cluster
        .post(0, "/v1/queries", "k", &json!({ "sql": sql }))
        .await;
    assert_eq!(status, 202, "{text}");
    let accepted: Value = serde_json::from_str(&text).unwrap();
    let several = accepted["query_id"].as_str().unwrap().to_string();
    let sql = format!("COPY (SELECT 2 AS a) TO '{location}/x.csv' STORED AS CSV");
    let started = flight(&cluster, 0).await.execute(sql, None).await.unwrap();
    let one = String::from_utf8(started.app_metadata.to_vec()).unwrap();
    let goes = ["x.csv#1".to_string(), format!("{several}-0.csv#1")];
    let goes = goes.map(|name| out.path().join(name));
    goes.iter().for_each(|path| begin(path));

    cluster.add_executor().await;
    for query in [&several, &one] {
        cluster.finished(0, query).await;
    }
    cluster
        .until("what was begun to go", || async {
            !goes.iter().any(|path| path.exists())
        })
        .await;
    let part = out.path().join(format!("{several}-0.csv"));
    assert_eq!(std::fs::read_to_string(part).unwrap(), "a\n1\n");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "a\n2\n");
    assert!(earlier.exists(), "it was there before the statement");
}
