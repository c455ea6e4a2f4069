//! A scheduler that lives, and that another one does not reach.

use std::time::Duration;

use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::flight::{flight, started};
use crate::support::Cluster;

/// Two schedulers, of which the first does not reach the second: nobody listens where that says that
/// others find it. Clients and the state store reach both, and the second reaches the first.
async fn one_way() -> Cluster {
    let changed = |options: &mut paceline_scheduler::SchedulerOptions| {
        options.no_executor_grace = Duration::from_secs(3600);
    };
    let mut cluster = Cluster::start_with(1, 0, changed).await;
    cluster
        .add_scheduler(|options| {
            changed(options);
            options.advertise_host = Some("127.0.0.2".to_string());
        })
        .await;
    cluster
        .until("the schedulers to see each other", || async {
            let status = cluster.get(0, "/v1/status").await;
            status["schedulers"].as_array().map(Vec::len) == Some(2)
        })
        .await;
    cluster
}

/// Asked about what the other one may drive, it says after a while that it does not reach that one.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_where_the_owner_is_not_reached_is_told_so() {
    let cluster = one_way().await;
    let other = cluster.schedulers[1].id().to_string();
    let body = json!({ "sql": "SELECT 1 AS a" });
    let (status, text) = cluster.post(1, "/v1/queries", "key", &body).await;
    assert_eq!(status, 202, "{text}");
    let accepted: Value = serde_json::from_str(&text).unwrap();
    let path = format!("/v1/queries/{}", accepted["query_id"].as_str().unwrap());
    let ticket = started(&mut flight(&cluster, 1).await, "SELECT 2 AS a").await;

    let mut client = flight(&cluster, 0).await;
    let (report, named, read) = tokio::join!(
        reqwest::get(cluster.url(0, &path)),
        // It may be there under that name.
        cluster.named(0, "SELECT 3 AS a", "other key"),
        client.do_get(ticket),
    );
    let report = report.unwrap();
    assert_eq!(report.status().as_u16(), 503);
    assert!(report.headers().contains_key("retry-after"));
    let text = report.text().await.unwrap();
    assert!(
        text.contains(&other) && text.contains("127.0.0.2"),
        "{text}"
    );
    let (status, text) = named;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains(&other), "{text}");
    let status: Status = read.map(drop).unwrap_err().into();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains(&other), "{status}");

    let report = cluster.get(1, &path).await;
    assert_eq!(report["epoch"], 0, "nobody took it over: {report}");
    assert_eq!(report["state"], "running", "{report}");
}
