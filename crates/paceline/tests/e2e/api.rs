//! The API for queries that run by themselves, as a client sees it that has nothing of Paceline's.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::ipc::reader::StreamReader;
use axum::body::Bytes;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use paceline::client::{Answer, Rows};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::support::{Running, until};

/// A name for a statement, and the query that it stands for at every scheduler: that is part of the
/// protocol, and so known before it is sent.
pub(crate) const NAME: &str = "nightly-report";
pub(crate) const NAMED: &str = "b568f07a-2d94-83db-9dbb-a8f676b11a37";

const JSON: &str = "application/json";
const CSV: &str = "text/csv";
pub(crate) const ARROW: &str = "application/vnd.apache.arrow.stream";
const PARQUET: &str = "application/vnd.apache.parquet";

/// The formats that a result is read in.
pub(crate) const FORMATS: [&str; 4] = [JSON, CSV, ARROW, PARQUET];

/// A result of few rows, which has several pages: 18 MB of them.
pub(crate) const LARGE: &str = "select o_orderkey as k, repeat(o_comment, 20) as t from orders \
     where o_orderkey % 8 = 0";

pub(crate) struct Api {
    client: Client,
    addresses: Vec<String>,
}

impl Api {
    pub(crate) fn of(running: &Running) -> Self {
        let schedulers = running.cluster.schedulers().iter();
        Api {
            client: Client::new(),
            addresses: schedulers
                .map(|node| node.announced().http.clone())
                .collect(),
        }
    }

    pub(crate) async fn submit(
        &self,
        scheduler: usize,
        sql: &str,
        key: Option<&str>,
    ) -> (StatusCode, Value) {
        self.send(scheduler, json!({ "sql": sql }), key).await
    }

    pub(crate) async fn send(
        &self,
        scheduler: usize,
        body: Value,
        key: Option<&str>,
    ) -> (StatusCode, Value) {
        let url = format!("http://{}/v1/queries", self.addresses[scheduler]);
        let mut request = self.client.post(url).json(&body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    pub(crate) async fn cancel(&self, scheduler: usize, query: &str) -> StatusCode {
        let url = self.url(scheduler, query);
        let answer = self.client.delete(url).send().await.unwrap();
        answer.status()
    }

    pub(crate) async fn get(&self, scheduler: usize, path: &str) -> (StatusCode, Vec<u8>) {
        let request = self.client.get(self.url(scheduler, path));
        let answer = request.header("accept", ARROW).send().await.unwrap();
        let status = answer.status();
        (status, answer.bytes().await.unwrap().to_vec())
    }

    fn url(&self, scheduler: usize, path: &str) -> String {
        format!("http://{}/v1/queries/{path}", self.addresses[scheduler])
    }

    pub(crate) async fn report(&self, scheduler: usize, query: &str) -> Value {
        let (status, body) = self.get(scheduler, query).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(status.is_success(), "{status}: {body}");
        body
    }

    /// Waits until a scheduler says that some of a query's tasks are done.
    pub(crate) async fn midway(&self, scheduler: usize, query: &str) -> Value {
        until("it runs", || async {
            let report = self.report(scheduler, query).await;
            let stages = report["stages"].as_array().cloned().unwrap_or_default();
            let begun = |stage: &Value| stage["done"].as_u64() > Some(0);
            stages.iter().any(begun).then_some(report)
        })
        .await
    }

    /// Waits until a scheduler says that a query came to that end.
    pub(crate) async fn ended(&self, scheduler: usize, query: &str, end: &str) -> Value {
        until("the query has ended", || async {
            let report = self.report(scheduler, query).await;
            let state = report["state"].as_str().unwrap().to_string();
            assert!(
                ["queued", "running", end].contains(&state.as_str()),
                "{report}"
            );
            (state == end).then_some(report)
        })
        .await
    }

    /// Reads the whole result at a scheduler.
    pub(crate) async fn whole(&self, scheduler: usize, query: &str) -> Answer {
        let (status, body) = self.get(scheduler, &format!("{query}/results")).await;
        assert!(
            status.is_success(),
            "{status}: {}",
            String::from_utf8_lossy(&body)
        );
        decoded(&body)
    }

    /// The keys of a result, page by page, each where the page before it says.
    pub(crate) async fn pages(&self, scheduler: usize, query: &str, format: &str) -> Vec<Vec<i64>> {
        let mut pages = Vec::new();
        let mut next = Some(format!("/v1/queries/{query}/results?page=0"));
        while let Some(path) = next {
            let url = format!("http://{}{path}", self.addresses[scheduler]);
            let request = self.client.get(url).header("accept", format);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{path} as {format}");
            let link = answer.headers().get("link");
            next = link.map(|link| {
                let link = link.to_str().unwrap();
                let (path, relation) = link.trim_start_matches('<').split_once('>').unwrap();
                assert_eq!(relation, "; rel=\"next\"");
                path.to_string()
            });
            pages.push(keys(format, answer.bytes().await.unwrap()));
        }
        pages
    }
}

/// The query of an answer to a submission.
pub(crate) fn id(accepted: &Value) -> String {
    let id = accepted["query_id"].as_str();
    id.unwrap_or_else(|| panic!("{accepted}")).to_string()
}

/// Reads a result that comes in [`ARROW`].
pub(crate) async fn read(mut rows: Rows) -> Answer {
    let mut body = Vec::new();
    while let Some(bytes) = rows.next().await.unwrap() {
        body.extend(bytes);
    }
    decoded(&body)
}

fn decoded(body: &[u8]) -> Answer {
    let reader = StreamReader::try_new(body, None).unwrap();
    Answer {
        schema: reader.schema(),
        batches: reader.map(Result::unwrap).collect(),
    }
}

/// The keys of an answer: its first column, `k`.
pub(crate) fn keys_of(answer: &Answer) -> Vec<i64> {
    answer.batches.iter().flat_map(first_column).collect()
}

/// The same of a document.
fn keys(format: &str, body: Bytes) -> Vec<i64> {
    match format {
        JSON => {
            let rows: Vec<Value> = serde_json::from_slice(&body).unwrap();
            rows.iter().map(|row| row["k"].as_i64().unwrap()).collect()
        }
        CSV => {
            let mut lines = std::str::from_utf8(&body).unwrap().lines();
            let header = lines.next().unwrap();
            assert!(header.starts_with("k,"), "{header}");
            let key = |line: &str| line.split(',').next().unwrap().parse().unwrap();
            lines.map(key).collect()
        }
        ARROW => keys_of(&decoded(&body)),
        PARQUET => {
            let file = ParquetRecordBatchReaderBuilder::try_new(body).unwrap();
            let batches = file.build().unwrap().map(Result::unwrap);
            batches.flat_map(|batch| first_column(&batch)).collect()
        }
        other => panic!("nobody asks for {other}"),
    }
}

fn first_column(batch: &RecordBatch) -> Vec<i64> {
    let column = batch.column(0).as_primitive::<Int64Type>();
    column.values().to_vec()
}
