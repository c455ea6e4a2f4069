//! Statements and the state of things over HTTP.

use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use paceline_frontend::{ClusterStatus, QueryReport, Readiness};
use paceline_model::{ErrorClass, QueryId, QueryState};
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::engine::numbers;
use crate::house::{House, until};

/// Parquet is tested with results that are kept.
const FORMATS: [&str; 4] = [
    "application/json",
    "application/x-ndjson",
    "text/csv",
    "application/vnd.apache.arrow.stream",
];

async fn ask(house: &House, sql: &str, accept: &str) -> Response {
    let request = Client::new().post(house.url("/v1/sql"));
    let request = request.header("accept", accept).body(sql.to_string());
    request.send().await.unwrap()
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    let value = response.headers().get(name);
    value.map(|v| v.to_str().unwrap()).unwrap_or_default()
}

#[tokio::test]
async fn a_result_comes_in_every_format() {
    let house = House::open().await;
    let expected: Vec<Value> = (0..3)
        .map(|n| json!({"n": n, "w": format!("number {n} in words")}))
        .collect();
    for format in FORMATS {
        let response = ask(&house, "numbers 3", format).await;
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(header(&response, "content-type"), format);
        let id: QueryId = header(&response, "x-paceline-query-id").parse().unwrap();
        assert!(house.engine.state(id).is_some());
        let body = response.bytes().await.unwrap();
        let text = std::str::from_utf8(&body).unwrap_or_default();
        match format {
            "application/json" => {
                assert_eq!(serde_json::from_str::<Vec<Value>>(text).unwrap(), expected);
            }
            "application/x-ndjson" => {
                let rows: Vec<Value> = text
                    .lines()
                    .map(|l| serde_json::from_str(l).unwrap())
                    .collect();
                assert_eq!(rows, expected);
            }
            "text/csv" => {
                let lines: Vec<_> = text.lines().collect();
                assert_eq!(lines[0], "n,w");
                assert_eq!(lines[3], "2,number 2 in words");
            }
            _ => {
                let reader = StreamReader::try_new(&*body, None).unwrap();
                let batches: Vec<_> = reader.map(Result::unwrap).collect();
                let all = concat_batches(&batches[0].schema(), &batches).unwrap();
                assert_eq!(all, numbers(0, 3));
            }
        }
    }
    until("all are counted", || house.requests("sql", "ok") == 4).await;
}

#[tokio::test]
async fn large_results_are_whole() {
    let house = House::open().await;
    for format in FORMATS {
        let body = ask(&house, "numbers 200001", format)
            .await
            .bytes()
            .await
            .unwrap();
        let rows = match format {
            "application/json" => serde_json::from_slice::<Vec<Value>>(&body).unwrap().len(),
            "application/x-ndjson" => body.iter().filter(|&&b| b == b'\n').count(),
            "text/csv" => body.iter().filter(|&&b| b == b'\n').count() - 1,
            _ => StreamReader::try_new(&*body, None)
                .unwrap()
                .map(|batch| batch.unwrap().num_rows())
                .sum(),
        };
        assert_eq!(rows, 200_001, "{format}");
    }
}

#[tokio::test]
async fn a_result_without_rows_and_a_statement_without_result() {
    let house = House::open().await;
    let response = ask(&house, "numbers 0", "application/json").await;
    assert_eq!(response.text().await.unwrap(), "[]");
    let response = ask(&house, "numbers 0", "text/csv").await;
    assert_eq!(response.text().await.unwrap(), "n,w\n");
    let response = ask(&house, "create", "*/*").await;
    assert_eq!(header(&response, "x-paceline-rows-affected"), "0");
    assert_eq!(response.text().await.unwrap(), "[]");
}

#[tokio::test]
async fn a_write_says_how_many_rows_it_wrote_in_a_header_too() {
    let house = House::open().await;
    let response = ask(&house, "insert", "*/*").await;
    assert_eq!(header(&response, "x-paceline-rows-affected"), "42");
    assert_eq!(response.text().await.unwrap(), r#"[{"count":42}]"#);
    let response = ask(&house, "numbers 1", "*/*").await;
    let headers = response.headers();
    assert!(headers.get("x-paceline-rows-affected").is_none());
}

#[tokio::test]
async fn settings_parameters_and_keys_reach_the_engine() {
    let house = House::open().await;
    let client = Client::new();
    let body = json!({"sql": "settings", "settings": {"schema": "tpch"}});
    let request = client.post(house.url("/v1/sql")).json(&body);
    let request = request.header("x-paceline-settings", "timeout=5s");
    let rows: Value = request.send().await.unwrap().json().await.unwrap();
    let expected = json!([{"name": "schema", "value": "tpch"}, {"name": "timeout", "value": "5s"}]);
    assert_eq!(rows, expected);

    let body = json!({"sql": "parameters", "parameters": [7, "x"]});
    let request = client.post(house.url("/v1/sql")).json(&body);
    let rows: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(rows, json!([{"$1": 7, "$2": "x"}]));

    let mut ids = Vec::new();
    for _ in 0..2 {
        let request = client.post(house.url("/v1/sql")).body("numbers 1");
        let response = request.header("idempotency-key", "k").send().await.unwrap();
        ids.push(header(&response, "x-paceline-query-id").to_string());
    }
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn every_error_has_its_code_and_says_what_is_wrong() {
    let house = House::open().await;
    for class in ErrorClass::ALL {
        for verb in ["refuse", "fail"] {
            let response = house.post(&format!("{verb} {class}")).await;
            let code = response.status().as_u16();
            let expected = match class {
                ErrorClass::User => 400,
                ErrorClass::NotFound => 404,
                ErrorClass::Conflict => 409,
                ErrorClass::Cancelled => 499,
                ErrorClass::DeadlineExceeded => 504,
                ErrorClass::Resource => 429,
                ErrorClass::Unsupported => 501,
                ErrorClass::Bug => 500,
                _ => 503,
            };
            assert_eq!(code, expected, "{class}");
            let retry = header(&response, "retry-after").to_string();
            assert_eq!(!retry.is_empty(), matches!(code, 429 | 503), "{class}");
            let body: Value = response.json().await.unwrap();
            assert_eq!(body["error"]["class"], class.as_str());
            assert_eq!(body["error"]["message"], format!("as asked: {class}"));
            let known = body["error"]["query_id"].is_string();
            assert_eq!(known, verb == "fail", "{body}");
        }
    }
}

#[tokio::test]
async fn a_result_that_breaks_off_is_visibly_broken() {
    let house = House::open().await;
    for format in FORMATS {
        let request = Client::new().post(house.url("/v1/sql"));
        let request = request.header("accept", format).body("break retryable");
        // If it breaks before anything was written to the socket, there is no response at all.
        if let Ok(response) = request.send().await {
            assert_eq!(response.status().as_u16(), 200);
            let body = response.bytes().await;
            assert!(body.is_err(), "{format}: the response looks complete");
        }
    }
    until("they are counted as what they are", || {
        house.requests("sql", "retryable") == 4
    })
    .await;
}

#[tokio::test]
async fn a_small_result_that_breaks_off_still_gets_its_code() {
    let house = House::open().await;
    let response = house.post("trip resource").await;
    assert_eq!(response.status().as_u16(), 429);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["class"], "resource");
    // And one that does not is a response of known length.
    let response = house.post("numbers 3").await;
    assert!(response.content_length().is_some_and(|length| length > 0));
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed() {
    let house = House::open().await;
    let response = ask(&house, "endless", "text/csv").await;
    house.engine.wait_for_readers(1).await;
    drop(response);
    house.engine.wait_for_readers(0).await;

    let url = house.url("/v1/sql");
    let waiting = tokio::spawn(Client::new().post(url).body("hang").send());
    house.engine.wait_for_readers(1).await;
    waiting.abort();
    house.engine.wait_for_readers(0).await;
    until("both are counted", || {
        house.requests("sql", "abandoned") == 2
    })
    .await;
}

#[tokio::test]
async fn what_http_does_not_take_is_refused_in_json() {
    let house = House::open().await;
    let client = Client::new();
    let sql = house.url("/v1/sql");
    let id = uuid::Uuid::nil();
    for (request, code) in [
        (client.get(house.url("/v2/sql")), 404),
        (client.get(&sql), 405),
        (client.put(house.url("/v1/queries")), 405),
        (client.post(&sql).body("no such statement"), 400),
        (client.post(&sql).body(""), 400),
        (client.post(&sql).body(vec![0xff, 0xfe]), 400),
        (
            client
                .post(&sql)
                .header("content-type", "application/json")
                .body("{"),
            400,
        ),
        (
            client
                .post(&sql)
                .header("content-type", "image/png")
                .body("x"),
            415,
        ),
        (
            client
                .post(&sql)
                .header("accept", "image/png")
                .body("numbers 1"),
            406,
        ),
        (client.post(&sql).body(vec![b'x'; 5 << 20]), 413),
        (client.get(house.url("/v1/queries/nonsense")), 400),
        (client.get(house.url(&format!("/v1/queries/{id}"))), 404),
        (client.delete(house.url(&format!("/v1/queries/{id}"))), 404),
        (client.get(house.url("/v1/queries/%ff")), 400),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), code, "{}", response.url());
        let url = response.url().clone();
        let body: Value = response.json().await.unwrap();
        assert!(body["error"]["message"].is_string(), "{url}: {body}");
        assert!(body["error"]["class"].is_string(), "{url}: {body}");
    }
}

#[tokio::test]
async fn queries_are_listed_and_cancelled() {
    let house = House::open().await;
    let client = Client::new();
    let response = house.post("numbers 1").await;
    let id = header(&response, "x-paceline-query-id").to_string();

    let list: Value = client
        .get(house.url("/v1/queries"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(list["queries"][0]["query_id"], id);
    let one = house.url(&format!("/v1/queries/{id}"));
    let report: QueryReport = client.get(&one).send().await.unwrap().json().await.unwrap();
    assert_eq!(report.sql, "numbers 1");
    assert_eq!(report.state, QueryState::Running);

    let response = client.delete(&one).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 204);
    let report: QueryReport = client.get(&one).send().await.unwrap().json().await.unwrap();
    assert_eq!(report.state, QueryState::Cancelled);
}

#[tokio::test]
async fn health_readiness_and_status() {
    let house = House::open().await;
    let get = |path: &str| Client::new().get(house.url(path)).send();
    assert_eq!(get("/v1/ready").await.unwrap().status().as_u16(), 200);
    let reasons = vec!["no executor is attached".to_string()];
    *house.engine.readiness.lock().unwrap() = Readiness::NotReady(reasons);
    let response = get("/v1/ready").await.unwrap();
    assert_eq!(response.status().as_u16(), 503);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["reasons"][0], "no executor is attached");
    // Alive all the same: restarting it would not bring executors.
    assert_eq!(get("/health").await.unwrap().status().as_u16(), 200);
    let status: ClusterStatus = get("/v1/status").await.unwrap().json().await.unwrap();
    assert_eq!(status.scheduler.as_str(), "test");
    assert_eq!(status.uptime.as_millis(), 1500);
}
