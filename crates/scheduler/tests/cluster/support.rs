//! A small cluster.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use paceline_executor::{Executor, ExecutorOptions};
use paceline_scheduler::{Scheduler, SchedulerOptions};
use paceline_store::{Limits, StateLocation, StateStore, StoreMetrics};
use prometheus::Registry;
use tempfile::TempDir;

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    pub(crate) schedulers: Vec<Scheduler>,
    pub(crate) executors: Vec<Executor>,
    pub(crate) directory: TempDir,
    client: reqwest::Client,
    registries: Vec<Registry>,
}

pub(crate) fn scheduler_options(state: &Path) -> SchedulerOptions {
    let any = ([127, 0, 0, 1], 0).into();
    SchedulerOptions {
        bind_cluster: any,
        bind_flight: any,
        bind_http: any,
        state: state.display().to_string(),
        no_executor_grace: Duration::from_millis(300),
        small_plan: paceline_model::ByteSize(0),
        ..SchedulerOptions::default()
    }
}

/// Where a scheduler of a test listens, whatever address it shows to others.
pub(crate) fn here(address: &str) -> String {
    let (_, port) = address.rsplit_once(':').unwrap();
    format!("127.0.0.1:{port}")
}

/// The state in a directory, as one more process would open it.
pub(crate) fn store(state: &Path) -> StateStore {
    store_at(&state.display().to_string(), &BTreeMap::new())
}

/// The same wherever the state lies.
pub(crate) fn store_at(state: &str, options: &BTreeMap<String, String>) -> StateStore {
    let location = StateLocation::parse(state, options, []).unwrap();
    let metrics = StoreMetrics::register(&Registry::new()).unwrap();
    StateStore::open(&location, Limits::default(), metrics).unwrap()
}

impl Cluster {
    pub(crate) async fn start(schedulers: usize, executors: usize) -> Self {
        Self::start_with(schedulers, executors, |_| {}).await
    }

    pub(crate) async fn start_with(
        schedulers: usize,
        executors: usize,
        change: impl Fn(&mut SchedulerOptions),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut cluster = Cluster {
            schedulers: Vec::new(),
            executors: Vec::new(),
            client: reqwest::Client::new(),
            registries: Vec::new(),
            directory,
        };
        for _ in 0..schedulers {
            cluster.add_scheduler(&change).await;
        }
        for _ in 0..executors {
            cluster.add_executor().await;
        }
        cluster.all_attached().await;
        cluster
    }

    pub(crate) async fn add_scheduler(&mut self, change: impl Fn(&mut SchedulerOptions)) {
        let mut options = scheduler_options(&self.directory.path().join("state"));
        change(&mut options);
        let registry = Registry::new();
        let scheduler = Scheduler::start(options, &registry).await.unwrap();
        self.schedulers.push(scheduler);
        self.registries.push(registry);
    }

    pub(crate) async fn add_executor(&mut self) {
        let number = self.executors.len();
        let first = self.schedulers[0].addresses().cluster.clone();
        let options = ExecutorOptions {
            schedulers: vec![first],
            bind: ([127, 0, 0, 1], 0).into(),
            slots: 2,
            directory: self.directory.path().join(format!("executor-{number}")),
            heartbeat: Duration::from_millis(100),
            ..ExecutorOptions::default()
        };
        let executor = Executor::start(options, &Registry::new()).unwrap();
        self.executors.push(executor);
    }

    /// Waits until every scheduler has every executor.
    pub(crate) async fn all_attached(&self) {
        let wanted = self.executors.len();
        for scheduler in 0..self.schedulers.len() {
            self.until(
                &format!("{wanted} executors at scheduler {scheduler}"),
                || async {
                    let status = self.get(scheduler, "/v1/status").await;
                    status["executors"].as_array().map(Vec::len) == Some(wanted)
                },
            )
            .await;
        }
    }

    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !holds().await {
            assert!(
                tokio::time::Instant::now() < deadline,
                "waited too long for {what}"
            );
            #[expect(
                clippy::disallowed_methods,
                reason = "it looks again until it is so, with a deadline"
            )]
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many values a scheduler's histogram has seen.
    pub(crate) fn count(&self, scheduler: usize, histogram: &str) -> u64 {
        let families = self.registries[scheduler].gather();
        let family = families.iter().find(|family| family.name() == histogram);
        let metrics = family.unwrap().get_metric().iter();
        metrics.map(|m| m.get_histogram().get_sample_count()).sum()
    }

    /// The sum of a scheduler's counters and gauges of that name; with a label, of those that have it.
    pub(crate) fn value(&self, scheduler: usize, name: &str, label: &str) -> f64 {
        let families = self.registries[scheduler].gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.unwrap().get_metric().iter();
        metrics
            .filter(|metric| {
                let mut labels = metric.get_label().iter();
                label.is_empty() || labels.any(|pair| pair.value() == label)
            })
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }

    pub(crate) fn url(&self, scheduler: usize, path: &str) -> String {
        let http = &self.schedulers[scheduler].addresses().http;
        format!("http://{}{path}", here(http))
    }

    pub(crate) async fn get(&self, scheduler: usize, path: &str) -> serde_json::Value {
        let response = self
            .client
            .get(self.url(scheduler, path))
            .send()
            .await
            .unwrap();
        response.json().await.unwrap()
    }

    /// Runs a statement; its rows as JSON objects, or the error's class and message.
    pub(crate) async fn sql(
        &self,
        scheduler: usize,
        sql: &str,
    ) -> Result<Vec<serde_json::Value>, (String, String)> {
        let request = self.client.post(self.url(scheduler, "/v1/sql"));
        let request = request
            .header("content-type", "text/plain")
            .body(sql.to_string());
        let response = request
            .header("accept", "application/json")
            .send()
            .await
            .unwrap();
        let ok = response.status().is_success();
        let body: serde_json::Value = response.json().await.unwrap();
        if ok {
            return Ok(body.as_array().cloned().unwrap_or_default());
        }
        let text = |field: &str| {
            body["error"][field]
                .as_str()
                .unwrap_or_default()
                .to_string()
        };
        Err((text("class"), text("message")))
    }

    /// Runs a statement under a name of the client's own; the answer's status and text.
    pub(crate) async fn named(&self, scheduler: usize, sql: &str, key: &str) -> (u16, String) {
        let request = self.client.post(self.url(scheduler, "/v1/sql"));
        let request = request
            .header("content-type", "text/plain")
            .header("idempotency-key", key)
            .body(sql.to_string());
        let answer = tokio::time::timeout(PATIENCE, request.send()).await;
        let answer = answer.expect("an answer in time").unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Sends a JSON body, under a name of the client's own; the answer's status and text.
    pub(crate) async fn post(
        &self,
        scheduler: usize,
        path: &str,
        key: &str,
        body: &serde_json::Value,
    ) -> (u16, String) {
        let request = self.client.post(self.url(scheduler, path)).json(body);
        let request = request.header("idempotency-key", key);
        let answer = tokio::time::timeout(PATIENCE, request.send()).await;
        let answer = answer.expect("an answer in time").unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Cancels a query; the answer's status.
    pub(crate) async fn cancel(&self, scheduler: usize, query: &str) -> u16 {
        let url = self.url(scheduler, &format!("/v1/queries/{query}"));
        let answer = tokio::time::timeout(PATIENCE, self.client.delete(url).send()).await;
        let answer = answer.expect("an answer in time").unwrap();
        answer.status().as_u16()
    }

    /// Waits until a query has finished, and returns its report.
    pub(crate) async fn finished(&self, scheduler: usize, query: &str) -> serde_json::Value {
        let path = format!("/v1/queries/{query}");
        self.until(&format!("query {query} to finish"), || async {
            let report = self.get(scheduler, &path).await;
            assert_ne!(report["state"], "failed", "{report}");
            report["state"] == "finished"
        })
        .await;
        self.get(scheduler, &path).await
    }

    /// Makes a table of several Parquet files: ids 0 to `rows`, a group, a value and a name.
    pub(crate) async fn make_table(&self, name: &str, rows: i64) -> std::path::PathBuf {
        let directory = self.directory.path().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let files = 4;
        for file in 0..files {
            let ids: Vec<i64> = (0..rows).filter(|id| id % files == file).collect();
            write_file(&directory.join(format!("{file}.parquet")), &ids).await;
        }
        let sql = format!(
            "CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{}/'",
            directory.display()
        );
        self.sql(0, &sql).await.unwrap();
        directory
    }
}

async fn write_file(path: &Path, ids: &[i64]) {
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(ids.to_vec())) as _),
        (
            "grp",
            Arc::new(Int64Array::from_iter_values(ids.iter().map(|i| i % 7))) as _,
        ),
        (
            "value",
            Arc::new(Float64Array::from_iter_values(
                ids.iter().map(|i| *i as f64 / 2.0),
            )) as _,
        ),
        (
            "name",
            Arc::new(StringArray::from_iter_values(
                ids.iter().map(|i| format!("n{}", i % 100)),
            )) as _,
        ),
    ])
    .unwrap();
    let context = SessionContext::new();
    let frame = context.read_batch(batch).unwrap();
    let options = datafusion::dataframe::DataFrameWriteOptions::new().with_single_file_output(true);
    frame
        .write_parquet(path.to_str().unwrap(), options, None)
        .await
        .unwrap();
}

/// The answer of one DataFusion process, as sorted lines of text.
pub(crate) async fn reference(table: &str, directory: &Path, sql: &str) -> Vec<String> {
    let context = SessionContext::new();
    let path = directory.display().to_string();
    context
        .register_parquet(table, path, ParquetReadOptions::default())
        .await
        .unwrap();
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    lines(&batches)
}

/// Rows as sorted lines of text.
pub(crate) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut buffer = Vec::new();
    let mut writer = arrow::json::LineDelimitedWriter::new(&mut buffer);
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    let text = String::from_utf8(buffer).unwrap();
    let rows = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    sorted(rows)
}

pub(crate) fn sorted(rows: Vec<serde_json::Value>) -> Vec<String> {
    let mut lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
    lines.sort();
    lines
}
