//! Any scheduler lists the queries of all, and those of the dead that have an outcome.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::Cluster;

/// Two schedulers that know each other, so that each can ask the other.
async fn two() -> Cluster {
    let cluster = Cluster::start(2, 1).await;
    for scheduler in 0..2 {
        cluster
            .until("the schedulers to see each other", || async {
                let status = cluster.get(scheduler, "/v1/status").await;
                status["schedulers"].as_array().map(Vec::len) == Some(2)
            })
            .await;
    }
    cluster
}

/// The statements of a list that is read one by one.
async fn one_by_one(cluster: &Cluster, scheduler: usize) -> Vec<String> {
    let mut path = "/v1/queries?limit=1".to_string();
    let mut paged = Vec::new();
    loop {
        let page = cluster.get(scheduler, &path).await;
        paged.extend(texts(&page));
        match page["next"].as_str() {
            Some(next) => path = next.to_string(),
            None => return paged,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_scheduler_lists_the_queries_of_all() {
    let cluster = two().await;
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
        assert_eq!(list["unreachable"], json!([]));
        assert_eq!(list["incomplete"], Value::Null);
        assert_eq!(one_by_one(&cluster, scheduler).await, texts(&list));

        let owner = list["queries"][0]["owner"].as_str().unwrap().to_string();
        let of_one = format!("/v1/queries?owner={owner}");
        let of_one = texts(&cluster.get(scheduler, &of_one).await);
        assert_eq!(of_one, ["SELECT 3 AS a", "SELECT 1 AS a"]);
    }
}

/// Its id is made of the name, and says nothing of when it came.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_has_a_name_stands_where_it_was_accepted() {
    let cluster = two().await;
    let mut sent = Vec::new();
    for number in 0..6 {
        let sql = format!("SELECT {number} AS a");
        if number % 2 == 0 {
            cluster.sql(number % 4 / 2, &sql).await.unwrap();
        } else {
            let key = format!("key {number}");
            let (status, text) = cluster.named(number % 4 / 2, &sql, &key).await;
            assert_eq!(status, 200, "{text}");
        }
        sent.insert(0, sql);
    }
    for scheduler in 0..2 {
        let list = cluster.get(scheduler, "/v1/queries").await;
        assert_eq!(texts(&list), sent, "{list}");
        assert_eq!(one_by_one(&cluster, scheduler).await, sent);
    }
}

/// Nobody who lives has ever driven them: what is told of them is their outcomes.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_an_outcome_is_listed_when_all_schedulers_have_begun_anew() {
    let mut cluster = two().await;
    cluster.make_table("t", 100).await;
    let submitted = [
        ("fine", "SELECT count(*) AS n FROM t", "finished"),
        ("broken", "SELECT CAST(name AS INT) AS a FROM t", "failed"),
        ("again", "SELECT max(id) AS n FROM t", "finished"),
    ];
    let mut expected = BTreeMap::new();
    for (number, (key, sql, state)) in submitted.into_iter().enumerate() {
        let body = json!({ "sql": sql });
        let (status, text) = cluster.post(number % 2, "/v1/queries", key, &body).await;
        assert_eq!(status, 202, "{text}");
        expected.insert(sql.to_string(), state.to_string());
    }
    let write = "CREATE TABLE w AS SELECT 1 AS a";
    cluster.sql(1, write).await.unwrap();
    expected.insert(write.to_string(), "finished".to_string());
    let all = |list: &Value| -> Vec<(String, String)> {
        let queries = list["queries"].as_array().unwrap().iter();
        let text = |query: &Value, field: &str| query[field].as_str().unwrap().to_string();
        let told = queries.map(|query| (text(query, "sql"), text(query, "state")));
        told.filter(|(sql, _)| expected.contains_key(sql)).collect()
    };
    cluster
        .until("all of them to have ended", || async {
            let list = cluster.get(0, "/v1/queries").await;
            all(&list).into_iter().collect::<BTreeMap<_, _>>() == expected
        })
        .await;
    let before = all(&cluster.get(0, "/v1/queries").await);
    // Somebody else's, or damaged: nothing keeps the others out of the list.
    let nonsense = "state/queries/07070707-0707-0707-0707-070707070707";
    let nonsense = cluster.directory.path().join(nonsense);
    std::fs::create_dir_all(&nonsense).unwrap();
    std::fs::write(nonsense.join("finished"), "nonsense").unwrap();
    cluster.schedulers.clear();
    cluster.add_scheduler(|_| {}).await;

    for _ in 0..2 {
        let list = cluster.get(0, "/v1/queries").await;
        assert_eq!(all(&list), before, "{list}");
        assert_eq!(list["queries"].as_array().map(Vec::len), Some(before.len()));
        assert_eq!(list["incomplete"], Value::Null);
    }
    let paged = before.iter().map(|(sql, _)| sql.clone());
    assert_eq!(one_by_one(&cluster, 0).await, paged.collect::<Vec<_>>());
    let failed = cluster.get(0, "/v1/queries?state=failed").await;
    assert_eq!(texts(&failed), [submitted[1].1]);
    let owner = failed["queries"][0]["owner"].as_str().unwrap();
    let of_one = format!("/v1/queries?state=failed,finished&owner={owner}");
    let of_one = texts(&cluster.get(0, &of_one).await);
    assert_eq!(of_one, [write, submitted[1].1]);
}

fn texts(list: &Value) -> Vec<String> {
    let queries = list["queries"].as_array().unwrap().iter();
    queries
        .map(|query| query["sql"].as_str().unwrap().to_string())
        .collect()
}
