//! Any scheduler lists the queries of all.

use crate::support::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn any_scheduler_lists_the_queries_of_all() {
    let cluster = Cluster::start(2, 1).await;
    // Each has to know the other before it can ask it.
    for scheduler in 0..2 {
        cluster
            .until("the schedulers to see each other", || async {
                let status = cluster.get(scheduler, "/v1/status").await;
                status["schedulers"].as_array().map(Vec::len) == Some(2)
            })
            .await;
    }
    let sent = ["SELECT 1 AS a", "SELECT 2 AS a", "SELECT 3 AS a"];
    for (number, sql) in sent.iter().enumerate() {
        cluster.sql(number % 2, sql).await.unwrap();
    }
    for scheduler in 0..2 {
        let list = cluster.get(scheduler, "/v1/queries?state=finished").await;
        assert_eq!(
            texts(&list),
            ["SELECT 3 AS a", "SELECT 2 AS a", "SELECT 1 AS a"]
        );
        assert_eq!(list["unreachable"], serde_json::json!([]));

        let mut path = "/v1/queries?limit=1".to_string();
        let mut paged = Vec::new();
        loop {
            let page = cluster.get(scheduler, &path).await;
            paged.extend(texts(&page));
            match page["next"].as_str() {
                Some(next) => path = next.to_string(),
                None => break,
            }
        }
        assert_eq!(paged, texts(&list));

        let owner = list["queries"][0]["owner"].as_str().unwrap().to_string();
        let of_one = format!("/v1/queries?owner={owner}");
        let of_one = texts(&cluster.get(scheduler, &of_one).await);
        assert_eq!(of_one, ["SELECT 3 AS a", "SELECT 1 AS a"]);
    }
}

fn texts(list: &serde_json::Value) -> Vec<String> {
    let queries = list["queries"].as_array().unwrap().iter();
    queries
        .map(|query| query["sql"].as_str().unwrap().to_string())
        .collect()
}
