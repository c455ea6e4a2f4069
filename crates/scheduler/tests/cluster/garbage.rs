//! What queries and schedulers leave in the state store goes.

use std::path::Path;
use std::time::Duration;

use crate::support::Cluster;

/// The names right below a folder of the state; none, if there is no such folder.
fn names(state: &Path, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(state.join(folder)).into_iter().flatten();
    let mut names: Vec<_> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_queries_and_schedulers_leave_goes() {
    let cluster = Cluster::start_with(2, 1, |options| {
        options.beat = Duration::from_millis(100);
        options.result_ttl = Duration::from_millis(200);
        options.garbage_after = Duration::from_secs(3);
    })
    .await;
    let state = cluster.directory.path().join("state");
    let leaving = cluster.schedulers[1].id().to_string();
    for scheduler in 0..2 {
        let sql = format!("SELECT {scheduler} AS a");
        let key = format!("key-{scheduler}");
        let (status, _) = cluster.named(scheduler, &sql, &key).await;
        assert_eq!(status, 200);
    }
    assert_eq!(names(&state, "queries").len(), 2, "each was accepted");
    cluster.schedulers[1].drain(Duration::from_secs(5)).await;
    assert!(
        names(&state, "journal").contains(&leaving),
        "it left a journal"
    );

    let staying = cluster.schedulers[0].id().to_string();
    cluster
        .until("all of it to go", || async {
            names(&state, "queries").is_empty()
                && names(&state, "owners").is_empty()
                && names(&state, "journal") == [staying.clone()]
        })
        .await;
}
