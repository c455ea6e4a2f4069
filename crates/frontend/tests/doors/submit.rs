//! `POST /v1/queries`.

use std::time::Duration;

use paceline_frontend::QueryReport;
use paceline_model::{ErrorClass, QueryId, QueryState};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::house::{House, until};

fn post(house: &House) -> RequestBuilder {
    Client::new().post(house.url("/v1/queries"))
}

async fn report(response: Response) -> QueryReport {
    assert_eq!(response.status().as_u16(), 202);
    let location = response.headers()["location"].to_str().unwrap().to_string();
    let header = response.headers()["x-paceline-query-id"].clone();
    let report: QueryReport = response.json().await.unwrap();
    assert_eq!(location, format!("/v1/queries/{}", report.query_id));
    assert_eq!(header.to_str().unwrap(), report.query_id.to_string());
    report
}

#[tokio::test]
async fn a_submission_reaches_the_engine_whole() {
    let house = House::open().await;
    let body = json!({
        "sql": "parameters", "settings": {"schema": "tpch"}, "parameters": [7],
        "timeout": "30s", "result_ttl": "1h 30m",
    });
    let request = post(&house)
        .json(&body)
        .header("idempotency-key", "k")
        .header("x-paceline-settings", "catalog=lake");
    let report = report(request.send().await.unwrap()).await;
    assert_eq!(report.state, QueryState::Queued);
    assert!(report.submitted && report.accepted_at.is_some());

    let request = house.engine.submissions.request(report.query_id);
    assert_eq!(request.timeout, Some(Duration::from_secs(30)));
    assert_eq!(request.result_ttl, Some(Duration::from_secs(5400)));
    let statement = request.statement;
    assert_eq!(statement.sql, "parameters");
    assert_eq!(statement.session.get("schema"), Some("tpch"));
    assert_eq!(statement.session.get("catalog"), Some("lake"));
    assert_eq!(statement.parameters.unwrap().num_columns(), 1);
    assert_eq!(statement.idempotency_key.as_deref(), Some("k"));
    until("it is counted", || house.requests("submit", "ok") == 1).await;
}

#[tokio::test]
async fn a_plain_body_is_the_statement() {
    let house = House::open().await;
    let response = post(&house).body("numbers 3").send().await.unwrap();
    let report = report(response).await;
    let request = house.engine.submissions.request(report.query_id);
    assert_eq!(request.statement.sql, "numbers 3");
    assert_eq!((request.timeout, request.result_ttl), (None, None));
}

#[tokio::test]
async fn a_key_stands_for_one_statement() {
    let house = House::open().await;
    let send = async |key: &str, sql: &'static str| {
        let request = post(&house).header("idempotency-key", key).body(sql);
        request.send().await.unwrap()
    };
    let first: QueryId = report(send("a", "numbers 3").await).await.query_id;
    assert_eq!(report(send("a", "numbers 3").await).await.query_id, first);
    assert_ne!(report(send("b", "numbers 3").await).await.query_id, first);
    assert_eq!(house.engine.submissions.count(), 2);
    let response = send("a", "numbers 4").await;
    assert_eq!(response.status().as_u16(), 409);
    assert!(
        response.headers().get("retry-after").is_none(),
        "a repeat is of no use"
    );
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["class"], "conflict");
    assert_eq!(house.engine.submissions.count(), 2);
}

#[tokio::test]
async fn what_the_engine_refuses_has_its_code() {
    let house = House::open().await;
    for class in ErrorClass::ALL {
        let response = post(&house).body(format!("refuse {class}"));
        let response = response.send().await.unwrap();
        let code = response.status().as_u16();
        assert_ne!(code, 202, "{class}");
        let retry = response.headers().contains_key("retry-after");
        assert_eq!(retry, matches!(code, 429 | 503), "{class}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["class"], class.as_str());
    }
    assert_eq!(house.engine.submissions.count(), 0);
}

#[tokio::test]
async fn bad_input_is_refused_and_says_why() {
    let house = House::open().await;
    let json = |body: Value| post(&house).json(&body);
    for (request, code, says) in [
        (post(&house).body(""), 400, "empty"),
        (post(&house).body(vec![0xff]), 400, "UTF-8"),
        (post(&house).body("no such statement"), 400, "as asked"),
        (post(&house).body(vec![b'x'; 5 << 20]), 413, "larger"),
        (json(json!({"sql": " "})), 400, "empty"),
        (json(json!({"timeout": "1s"})), 400, "sql"),
        (json(json!({"sql": "numbers 1", "ttl": "1s"})), 400, "ttl"),
        (
            json(json!({"sql": "numbers 1", "timeout": "soon"})),
            400,
            "timeout: 'soon'",
        ),
        (
            json(json!({"sql": "numbers 1", "timeout": 30})),
            400,
            "integer `30`",
        ),
        (
            json(json!({"sql": "numbers 1", "timeout": "0s"})),
            400,
            "timeout: '0s'",
        ),
        (
            json(json!({"sql": "numbers 1", "result_ttl": "400d"})),
            400,
            "result_ttl: '400d'",
        ),
        (
            json(json!({"sql": "numbers 1", "parameters": [[]]})),
            400,
            "$1",
        ),
        (
            post(&house).header("idempotency-key", "").body("numbers 1"),
            400,
            "idempotency-key",
        ),
        (
            post(&house)
                .header("content-type", "image/png")
                .body("numbers 1"),
            415,
            "image/png",
        ),
    ] {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        assert!(status == code && message.contains(says), "{status} {body}");
    }
    assert_eq!(house.engine.submissions.count(), 0);
    // Where somebody waits for the answer, these times mean nothing.
    let sql = Client::new().post(house.url("/v1/sql"));
    let body = json!({"sql": "numbers 1", "result_ttl": "1s"});
    assert_eq!(sql.json(&body).send().await.unwrap().status().as_u16(), 400);
}
