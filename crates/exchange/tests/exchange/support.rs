//! Executors' halves of an exchange, as small as they can be.

use std::collections::HashMap;
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use paceline_exchange::{
    DataPlane, ExchangeMetrics, InputReader, OutputStore, OutputWriter, PeerOptions, Peers,
    ReadError, StageOutputs, StoreOptions, Which,
};
use paceline_model::{
    Attempt, ByteSize, ExecutorId, OutputId, OutputLocation, PartitionRange, QueryId, StageId,
    TaskId,
};
use prometheus::Registry;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

pub(crate) type Rows = BoxStream<'static, Result<RecordBatch, ReadError>>;

pub(crate) const STAGE: StageId = StageId(3);

/// A store and its data plane.
pub(crate) struct Holder {
    pub(crate) store: OutputStore,
    pub(crate) address: String,
    pub(crate) name: ExecutorId,
    pub(crate) registry: Registry,
    pub(crate) directory: TempDir,
    _server: AbortOnDropHandle<()>,
}

impl Holder {
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_with(name, |_| {}).await
    }

    /// A holder whose outputs all go to disk.
    pub(crate) async fn on_disk(name: &str) -> Self {
        Self::start_with(name, |options| {
            options.memory_limit = ByteSize(0);
            options.attempt_buffer = ByteSize(256 << 10);
        })
        .await
    }

    pub(crate) async fn start_with(name: &str, set: impl FnOnce(&mut StoreOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(directory.path());
        // As for readers on other machines.
        options.compress_nearby = true;
        set(&mut options);
        let registry = Registry::new();
        let metrics = ExchangeMetrics::register(&registry).unwrap();
        let store = OutputStore::open(options, metrics).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .add_service(DataPlane::new(store.clone(), CancellationToken::new()).into_server())
            .serve_with_incoming(TcpListenerStream::new(listener));
        Holder {
            store,
            address,
            name: ExecutorId::new(name),
            registry,
            directory,
            _server: AbortOnDropHandle::new(tokio::spawn(async move { server.await.unwrap() })),
        }
    }

    pub(crate) fn writer(&self, id: OutputId, partitions: PartitionRange) -> OutputWriter {
        self.store.create(id, schema(), partitions).unwrap()
    }

    pub(crate) fn location(&self, id: OutputId, partitions: PartitionRange) -> OutputLocation {
        OutputLocation {
            task: id.task,
            attempt: id.attempt,
            partitions,
            executor: self.name.clone(),
            address: self.address.clone(),
        }
    }

    /// Files with that extension below the store's directory.
    pub(crate) fn files(&self, extension: &str) -> Vec<PathBuf> {
        let lives = std::fs::read_dir(self.directory.path()).unwrap().flatten();
        let lives = lives.filter(|entry| entry.path().is_dir());
        lives
            .flat_map(|life| std::fs::read_dir(life.path()).unwrap().flatten())
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == extension))
            .collect()
    }

    /// The sum of a metric over its labels that contain `label`.
    pub(crate) fn metric(&self, name: &str, label: &str) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.map(|f| f.get_metric()).unwrap_or_default();
        let wanted = metrics.iter().filter(|metric| {
            label.is_empty() || metric.get_label().iter().any(|l| l.value() == label)
        });
        wanted
            .map(|m| m.get_counter().get_value() as u64 + m.get_gauge().get_value() as u64)
            .sum()
    }
}

pub(crate) fn query() -> QueryId {
    QueryId(Uuid::now_v7())
}

pub(crate) fn output(query: QueryId, task: u32) -> OutputId {
    OutputId {
        query,
        stage: STAGE,
        task: TaskId(task),
        attempt: Attempt(0),
    }
}

/// What most tests move: a number and a text.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("t", DataType::Utf8View, false),
    ]))
}

pub(crate) fn batch(numbers: impl IntoIterator<Item = i64>) -> RecordBatch {
    let numbers: Vec<i64> = numbers.into_iter().collect();
    let texts = numbers
        .iter()
        .map(|n| format!("the text that belongs to {n}"));
    let texts = StringViewArray::from_iter_values(texts);
    RecordBatch::try_new(
        schema(),
        vec![Arc::new(Int64Array::from(numbers.clone())), Arc::new(texts)],
    )
    .unwrap()
}

/// A reader in a process of its own, with metrics of its own.
pub(crate) fn reader(
    query: QueryId,
    outputs: Vec<OutputLocation>,
    range: PartitionRange,
    budget: u64,
) -> InputReader {
    reader_of(schema(), query, outputs, range, budget)
}

pub(crate) fn reader_of(
    schema: SchemaRef,
    query: QueryId,
    outputs: Vec<OutputLocation>,
    range: PartitionRange,
    budget: u64,
) -> InputReader {
    let peers = Peers::new(PeerOptions::default());
    reader_over(peers, schema, query, outputs, range, budget)
}

pub(crate) fn reader_over(
    peers: Peers,
    schema: SchemaRef,
    query: QueryId,
    outputs: Vec<OutputLocation>,
    range: PartitionRange,
    budget: u64,
) -> InputReader {
    let at = StageOutputs {
        schema,
        outputs,
        range,
    };
    InputReader::new(
        None,
        peers,
        None,
        query,
        HashMap::from([(STAGE, at)]),
        ByteSize(budget),
        ExchangeMetrics::register(&Registry::new()).unwrap(),
    )
}

/// A reader in the holder's own process.
pub(crate) fn reader_at(
    holder: &Holder,
    query: QueryId,
    outputs: Vec<OutputLocation>,
    range: PartitionRange,
) -> InputReader {
    let at = StageOutputs {
        schema: schema(),
        outputs,
        range,
    };
    InputReader::new(
        Some(holder.store.clone()),
        Peers::new(PeerOptions::default()),
        Some(holder.name.clone()),
        query,
        HashMap::from([(STAGE, at)]),
        ByteSize::mib(8),
        ExchangeMetrics::register(&Registry::new()).unwrap(),
    )
}

pub(crate) fn partition(reader: &InputReader, partition: u32) -> Rows {
    reader.read(STAGE, Which::Partition(partition)).unwrap()
}

/// The numbers of a batch, after checking that each still has its own text.
pub(crate) fn numbers_in(batch: &RecordBatch) -> Vec<i64> {
    let numbers = batch.column(0).as_primitive::<Int64Type>();
    let texts = batch.column(1).as_string_view();
    for (number, text) in numbers.values().iter().zip(texts.iter()) {
        assert_eq!(
            text,
            Some(format!("the text that belongs to {number}").as_str())
        );
    }
    assert_eq!(numbers.null_count(), 0);
    numbers.values().to_vec()
}

pub(crate) async fn numbers(rows: Rows) -> Result<Vec<i64>, ReadError> {
    let batches: Vec<RecordBatch> = within(rows.try_collect()).await?;
    Ok(batches.iter().flat_map(numbers_in).collect())
}

/// Nothing here may take long: a test that hangs fails.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("it hangs")
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        #[expect(
            clippy::disallowed_methods,
            reason = "it looks again until it is so, with a deadline"
        )]
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Asserts that the read failed because that task's output is lost; gives the reason as text.
pub(crate) fn lost<T: std::fmt::Debug>(result: Result<T, ReadError>, task: u32) -> (bool, String) {
    match result {
        Err(ReadError::Lost { lost, reason }) => {
            assert_eq!(lost.stage, STAGE);
            assert_eq!(lost.task, TaskId(task));
            (lost.unreachable, reason.to_string())
        }
        other => panic!("the output should be lost, but: {other:?}"),
    }
}

/// Flips one bit of the file, in place; doing it twice undoes it.
pub(crate) fn flip_bit(path: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path);
    let file = file.unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at).unwrap();
}
