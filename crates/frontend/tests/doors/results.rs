//! `GET /v1/queries/{id}/results`.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use paceline_frontend::{Origin, SessionSettings, Statement, Submission};
use paceline_model::{ErrorClass, QueryError, QueryId};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::engine::numbers;
use crate::house::{House, until};

const FORMATS: [&str; 5] = [
    "application/json",
    "application/x-ndjson",
    "text/csv",
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.parquet",
];

fn submitted(house: &House, sql: &str) -> QueryId {
    let statement = Statement::new(sql, SessionSettings::default(), Origin::Http);
    let submission = Submission::new(statement);
    house.engine.submissions.enqueue(submission).unwrap().query
}

fn finished(house: &House, sql: &str) -> QueryId {
    let query = submitted(house, sql);
    house.engine.submissions.finish(query);
    query
}

async fn get(house: &House, query: QueryId, page: &str, accept: &str) -> Response {
    let url = house.url(&format!("/v1/queries/{query}/results{page}"));
    let request = Client::new().get(url).header("accept", accept);
    request.send().await.unwrap()
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    let value = response.headers().get(name);
    value.map(|v| v.to_str().unwrap()).unwrap_or_default()
}

/// The numbers in a result, whatever it is written as.
fn read(format: &str, body: &Bytes) -> Vec<i64> {
    let of_objects = |rows: Vec<Value>| rows.iter().map(|row| row["n"].as_i64().unwrap()).collect();
    let of_batches = |batches: Vec<RecordBatch>| {
        let Some(first) = batches.first() else {
            return vec![];
        };
        let all = concat_batches(&first.schema(), &batches).unwrap();
        assert_eq!(
            all,
            numbers(first_number(&all), i64::try_from(all.num_rows()).unwrap())
        );
        (first_number(&all)..).take(all.num_rows()).collect()
    };
    let text = || std::str::from_utf8(body).unwrap();
    match format {
        "application/json" => of_objects(serde_json::from_slice(body).unwrap()),
        "application/x-ndjson" => {
            let rows = text().lines().map(serde_json::from_str);
            of_objects(rows.map(Result::unwrap).collect())
        }
        "text/csv" => {
            let mut lines = text().lines();
            assert_eq!(lines.next(), Some("n,w"));
            let number = |line: &str| line.split(',').next().unwrap().parse().unwrap();
            lines.map(number).collect()
        }
        "application/vnd.apache.arrow.stream" => {
            let reader = StreamReader::try_new(&**body, None).unwrap();
            of_batches(reader.map(Result::unwrap).collect())
        }
        _ => {
            let file = ParquetRecordBatchReaderBuilder::try_new(body.clone()).unwrap();
            of_batches(file.build().unwrap().map(Result::unwrap).collect())
        }
    }
}

fn first_number(batch: &RecordBatch) -> i64 {
    let column = batch.column(0).as_any();
    let column: &arrow::array::Int64Array = column.downcast_ref().unwrap();
    column.value(0)
}

#[tokio::test]
async fn a_result_comes_whole_in_every_format() {
    let house = House::open().await;
    let query = finished(&house, "numbers 7");
    for format in FORMATS {
        let response = get(&house, query, "", format).await;
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(header(&response, "content-type"), format);
        assert_eq!(header(&response, "x-paceline-query-id"), query.to_string());
        assert_eq!(header(&response, "x-paceline-result-rows"), "7");
        assert_eq!(header(&response, "x-paceline-result-pages"), "2");
        assert_eq!(header(&response, "link"), "");
        let body = response.bytes().await.unwrap();
        assert_eq!(read(format, &body), [0, 1, 2, 3, 4, 5, 6], "{format}");
    }
    house.engine.wait_for_readers(0).await;
    until("all are counted", || house.requests("results", "ok") == 5).await;
}

#[tokio::test]
async fn pages_lead_from_one_to_the_next() {
    let house = House::open().await;
    let query = finished(&house, "numbers 7");
    for format in FORMATS {
        let mut seen = Vec::new();
        let mut next = Some("?page=0".to_string());
        while let Some(page) = next {
            let response = get(&house, query, &page, format).await;
            assert_eq!(response.status().as_u16(), 200);
            let link = header(&response, "link").to_string();
            let start = format!("</v1/queries/{query}/results");
            next = link.strip_prefix(&start).map(|rest| {
                let (page, rel) = rest.split_once('>').unwrap();
                assert_eq!(rel, "; rel=\"next\"");
                page.to_string()
            });
            assert_eq!(next.is_none(), link.is_empty());
            seen.push(read(format, &response.bytes().await.unwrap()));
        }
        assert_eq!(seen, [vec![0, 1, 2], vec![3, 4, 5, 6]], "{format}");
    }
}

#[tokio::test]
async fn a_result_without_rows_is_a_whole_document() {
    let house = House::open().await;
    let query = finished(&house, "numbers 0");
    for format in FORMATS {
        for page in ["", "?page=0"] {
            let response = get(&house, query, page, format).await;
            assert_eq!(response.status().as_u16(), 200);
            let body = response.bytes().await.unwrap();
            assert!(read(format, &body).is_empty(), "{format}");
        }
    }
}

#[tokio::test]
async fn large_results_are_whole() {
    let house = House::open().await;
    let query = finished(&house, "numbers 200001");
    for format in FORMATS {
        let body = get(&house, query, "", format).await.bytes().await.unwrap();
        assert_eq!(read(format, &body).len(), 200_001, "{format}");
    }
}

#[tokio::test]
async fn a_result_that_breaks_off_is_visibly_broken() {
    let house = House::open().await;
    let query = finished(&house, "break retryable");
    for format in FORMATS {
        let url = house.url(&format!("/v1/queries/{query}/results"));
        let request = Client::new().get(url).header("accept", format).send();
        // What fails before its first byte has a code; what fails before that byte was written to
        // the socket has no response.
        match request.await {
            Ok(response) if response.status().as_u16() == 200 => {
                assert!(response.bytes().await.is_err(), "{format} looks complete");
            }
            Ok(response) => assert_eq!(response.status().as_u16(), 503, "{format}"),
            Err(_) => {}
        }
    }
}

#[tokio::test]
async fn a_query_that_has_not_ended_has_no_result_yet() {
    let house = House::open().await;
    let query = submitted(&house, "numbers 7");
    let response = get(&house, query, "", "*/*").await;
    assert_eq!(response.status().as_u16(), 409);
    assert_eq!(header(&response, "retry-after"), "1");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["class"], "conflict");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("queued"), "{message}");
    house.engine.submissions.finish(query);
    let response = get(&house, query, "", "*/*").await;
    assert_eq!(response.status().as_u16(), 200);
}

#[tokio::test]
async fn a_failed_query_answers_with_its_error() {
    let house = House::open().await;
    for class in [ErrorClass::User, ErrorClass::Resource, ErrorClass::Bug] {
        let query = submitted(&house, "numbers 7");
        let error = QueryError::new(class, "too much of it");
        house.engine.submissions.fail(query, error);
        let response = get(&house, query, "", "*/*").await;
        let expected = match class {
            ErrorClass::User => 400,
            ErrorClass::Resource => 429,
            _ => 500,
        };
        assert_eq!(response.status().as_u16(), expected);
        assert_eq!(header(&response, "retry-after"), "", "it has failed");
        let body: Value = response.json().await.unwrap();
        assert_eq!(
            body["error"],
            json!({"class": class.as_str(), "message": "too much of it", "query_id": query})
        );
    }
    let query = submitted(&house, "numbers 7");
    let url = house.url(&format!("/v1/queries/{query}"));
    Client::new().delete(url).send().await.unwrap();
    let response = get(&house, query, "", "*/*").await;
    assert_eq!(response.status().as_u16(), 499);
}

#[tokio::test]
async fn what_is_over_is_gone_and_what_never_was_is_not_found() {
    let house = House::open().await;
    let query = finished(&house, "numbers 7");
    house.engine.submissions.expire(query);
    let response = get(&house, query, "", "*/*").await;
    assert_eq!(response.status().as_u16(), 410);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["message"], "its time is over, as asked");
    let never = QueryId(uuid::Uuid::now_v7());
    let response = get(&house, never, "", "*/*").await;
    assert_eq!(response.status().as_u16(), 404);
    // One that somebody waited for has given its result to that one.
    let response = house.post("numbers 7").await;
    let waited_for = header(&response, "x-paceline-query-id").parse().unwrap();
    let response = get(&house, waited_for, "", "*/*").await;
    assert_eq!(response.status().as_u16(), 404);
}

#[tokio::test]
async fn bad_input_is_refused_and_says_why() {
    let house = House::open().await;
    let query = finished(&house, "numbers 7").to_string();
    for (path, accept, code, says) in [
        ("nonsense/results", "*/*", 400, "'nonsense'"),
        ("%ff/results", "*/*", 400, "UTF-8"),
        ("{id}/results?page=two", "*/*", 400, "page"),
        ("{id}/results?page=-1", "*/*", 400, "page"),
        ("{id}/results?page=2", "*/*", 404, "no page 2"),
        ("{id}/results?page=18446744073709551615", "*/*", 404, "page"),
        ("{id}/results?page=0&page=1", "*/*", 400, "page"),
        ("{id}/results?side=1", "*/*", 400, "side"),
        ("{id}/results", "image/png", 406, "parquet"),
    ] {
        let url = house.url(&format!("/v1/queries/{}", path.replace("{id}", &query)));
        let request = Client::new().get(url).header("accept", accept);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        assert!(status == code && message.contains(says), "{path}: {body}");
    }
    let url = house.url(&format!("/v1/queries/{query}/results"));
    let response = Client::new().post(url).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 405);
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed() {
    let house = House::open().await;
    let query = finished(&house, "numbers 1000000");
    let response = get(&house, query, "", "text/csv").await;
    house.engine.wait_for_readers(1).await;
    drop(response);
    house.engine.wait_for_readers(0).await;
}
