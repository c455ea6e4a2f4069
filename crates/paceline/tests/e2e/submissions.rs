//! Queries that run by themselves: through deaths of schedulers, one or all.

use paceline_testkit::Role;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::answers::agrees;
use crate::left::{is_journaled, nothing_is_left_but};
use crate::support::{Running, SLOW, labelled, of_schedulers, until};

struct Api {
    client: Client,
    addresses: Vec<String>,
}

impl Api {
    fn of(running: &Running) -> Self {
        let schedulers = running.cluster.schedulers().iter();
        Api {
            client: Client::new(),
            addresses: schedulers
                .map(|node| node.announced().http.clone())
                .collect(),
        }
    }

    async fn submit(&self, scheduler: usize, sql: &str, key: Option<&str>) -> (StatusCode, Value) {
        self.send(scheduler, json!({ "sql": sql }), key).await
    }

    async fn send(&self, scheduler: usize, body: Value, key: Option<&str>) -> (StatusCode, Value) {
        let url = format!("http://{}/v1/queries", self.addresses[scheduler]);
        let mut request = self.client.post(url).json(&body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn get(&self, scheduler: usize, path: &str) -> (StatusCode, Vec<u8>) {
        let url = format!("http://{}/v1/queries/{path}", self.addresses[scheduler]);
        let request = self.client.get(url);
        let answer = request
            .header("accept", "application/vnd.apache.arrow.stream")
            .send()
            .await
            .unwrap();
        let status = answer.status();
        (status, answer.bytes().await.unwrap().to_vec())
    }

    async fn report(&self, scheduler: usize, query: &str) -> Value {
        let (status, body) = self.get(scheduler, query).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(status.is_success(), "{status}: {body}");
        body
    }

    async fn finished(&self, scheduler: usize, query: &str) -> Value {
        until("the query has ended", || async {
            let report = self.report(scheduler, query).await;
            let state = report["state"].as_str().unwrap().to_string();
            assert!(
                ["queued", "running", "finished"].contains(&state.as_str()),
                "{report}"
            );
            (state == "finished").then_some(report)
        })
        .await
    }

    /// Reads the whole result at a scheduler and compares it with one process's.
    async fn check(&self, scheduler: usize, query: &str) {
        let (status, body) = self.get(scheduler, &format!("{query}/results")).await;
        assert!(
            status.is_success(),
            "{status}: {}",
            String::from_utf8_lossy(&body)
        );
        let reader = arrow::ipc::reader::StreamReader::try_new(&body[..], None).unwrap();
        let answer = paceline::client::Answer {
            schema: reader.schema(),
            batches: reader.map(Result::unwrap).collect(),
        };
        agrees(SLOW, &answer).await.unwrap();
    }
}

fn id(accepted: &Value) -> String {
    let id = accepted["query_id"].as_str().or(accepted["id"].as_str());
    id.unwrap_or_else(|| panic!("{accepted}")).to_string()
}

async fn runs(api: &Api, scheduler: usize, query: &str) {
    until("it runs", || async {
        let report = api.report(scheduler, query).await;
        let stages = report["stages"].as_array().cloned().unwrap_or_default();
        stages
            .iter()
            .any(|stage| stage["done"].as_u64() > Some(0))
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submitted_query_outlives_its_scheduler() {
    let mut running = Running::with_tpch().await;
    let api = Api::of(&running);
    let (status, accepted) = api.submit(0, SLOW, Some("nightly")).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{accepted}");
    let query = id(&accepted);
    runs(&api, 0, &query).await;
    let (status, _) = api.get(1, &format!("{query}/results")).await;
    assert_eq!(status, StatusCode::CONFLICT, "it has not ended");
    running.cluster.kill(Role::Scheduler, 0).await.unwrap();

    let report = api.finished(1, &query).await;
    assert_eq!(report["epoch"], 1, "{report}");
    api.check(1, &query).await;
    let (status, again) = api.submit(1, SLOW, Some("nightly")).await;
    assert!(status.is_success(), "{again}");
    assert_eq!(id(&again), query, "the same name is the same query");
    let (status, other) = api.submit(1, "select 1", Some("nightly")).await;
    assert_eq!(status, StatusCode::CONFLICT, "{other}");
    nothing_is_left_but(&running, &[query.parse().unwrap()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submitted_queries_go_on_when_all_schedulers_were_dead() {
    let mut running = Running::with_tpch().await;
    let api = Api::of(&running);
    let (_, accepted) = api.submit(0, SLOW, None).await;
    let query = id(&accepted);
    runs(&api, 0, &query).await;
    is_journaled(&running, 0, query.parse().unwrap()).await;
    for scheduler in 0..2 {
        running
            .cluster
            .kill(Role::Scheduler, scheduler)
            .await
            .unwrap();
    }
    for scheduler in 0..2 {
        running
            .cluster
            .restart(Role::Scheduler, scheduler)
            .await
            .unwrap();
    }
    let report = api.finished(0, &query).await;
    assert!(report["epoch"].as_u64() >= Some(1), "{report}");
    let mut taken_back =
        of_schedulers(&running, "paceline_exchange_outputs_taken_back_total").await;
    for scheduler in 0..2 {
        let name = "paceline_task_attempts_total";
        taken_back += labelled(&running, scheduler, name, "taken_back").await;
    }
    assert!(taken_back > 0.0, "executors came back with nothing");
    api.check(0, &query).await;
    api.check(1, &query).await;
    nothing_is_left_but(&running, &[query.parse().unwrap()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_kept_for_their_time_and_failures_told() {
    let running = Running::with_tpch().await;
    let api = Api::of(&running);
    let (_, accepted) = api
        .submit(0, "select n_name from nation order by 1", None)
        .await;
    let query = id(&accepted);
    let report = api.finished(1, &query).await;
    assert_eq!(report["result"]["rows"], 25, "{report}");
    let (status, body) = api.get(1, &format!("{query}/results?page=0")).await;
    assert!(status.is_success() && !body.is_empty());
    let (status, _) = api.get(1, &format!("{query}/results?page=9")).await;
    assert!(status.is_client_error(), "{status}");

    let (_, accepted) = api
        .submit(
            0,
            "select 1 / (n_nationkey - n_nationkey) from nation",
            None,
        )
        .await;
    let query = id(&accepted);
    let report = until("it fails", || async {
        let report = api.report(1, &query).await;
        (report["state"] == "failed").then_some(report)
    })
    .await;
    assert!(report["error"]["message"].as_str().is_some(), "{report}");
    let (status, body) = api.get(1, &format!("{query}/results")).await;
    assert_eq!(
        status,
        StatusCode::BAD_REQUEST,
        "{}",
        String::from_utf8_lossy(&body)
    );
    // What has ended stays as it ended, whoever is told to cancel it.
    for scheduler in 0..2 {
        let url = format!("http://{}/v1/queries/{query}", api.addresses[scheduler]);
        let answer = api.client.delete(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(api.report(scheduler, &query).await["state"], "failed");
    }

    let brief = json!({ "sql": "select 1 as n from nation", "result_ttl": "1s" });
    let (_, accepted) = api.send(0, brief, None).await;
    let query = id(&accepted);
    api.finished(1, &query).await;
    until("its time is over", || async {
        let (status, _) = api.get(1, &format!("{query}/results")).await;
        (status == StatusCode::GONE).then_some(())
    })
    .await;
    assert_eq!(api.report(0, &query).await["state"], "finished");

    let hurried = json!({ "sql": SLOW, "timeout": "200ms" });
    let (_, accepted) = api.send(0, hurried, None).await;
    let report = until("its limit is over", || async {
        let report = api.report(1, &id(&accepted)).await;
        (report["state"] == "failed").then_some(report)
    })
    .await;
    let said = report["error"]["message"].as_str().unwrap().to_string();
    assert!(said.contains("200ms"), "{report}");
}
