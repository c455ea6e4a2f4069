//! What goes wrong inside a task stays inside, and is told apart.

use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::Int64Array;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream;
use paceline_exchange::{ExchangeMetrics, OutputStore, StoreOptions};
use paceline_model::{Attempt, OutputId, QueryId, StageId, TaskId};

use super::*;
use crate::task::output::Left;

type Rows = Result<RecordBatch, DataFusionError>;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

fn batch() -> RecordBatch {
    let column = Arc::new(Int64Array::from_iter_values(0..100));
    RecordBatch::try_new(schema(), vec![column]).unwrap()
}

struct Bench {
    output: Arc<TaskOutput>,
    store: OutputStore,
    _directory: tempfile::TempDir,
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let metrics = ExchangeMetrics::register(&prometheus::Registry::new()).unwrap();
    let store = OutputStore::open(StoreOptions::new(directory.path()), metrics).unwrap();
    let id = OutputId {
        query: QueryId(uuid::Uuid::new_v4()),
        stage: StageId(0),
        task: TaskId(0),
        attempt: Attempt(0),
    };
    let range = PartitionRange::new(0, 2);
    let output = TaskOutput::open(&store, id, schema(), range, ByteSize(0)).unwrap();
    Bench {
        output: Arc::new(output),
        store,
        _directory: directory,
    }
}

impl Bench {
    fn section(
        &self,
        partition: u32,
        rows: impl futures::Stream<Item = Rows> + Send + 'static,
    ) -> Section {
        Section {
            rows: Box::pin(RecordBatchStreamAdapter::new(schema(), rows)),
            route: Route::Forward(partition),
            output: self.output.clone(),
            progress: Arc::default(),
        }
    }
}

fn endless() -> impl futures::Stream<Item = Rows> + Send + 'static {
    stream::unfold(Dropped::new().0, |kept| async move {
        tokio::task::yield_now().await;
        Some((Ok(batch().slice(0, 0)), kept))
    })
}

/// Says when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Dropped {
    fn new() -> (Self, Arc<AtomicBool>) {
        let flag = Arc::new(AtomicBool::new(false));
        (Dropped(flag.clone()), flag)
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_ends_the_task_with_its_message_and_nothing_else() {
    let bench = bench();
    let (guard, dropped) = Dropped::new();
    let neighbour = stream::unfold(guard, |guard| async move {
        tokio::task::yield_now().await;
        Some((Ok(batch()), guard))
    });
    let panicking = stream::once(async { panic!("the function {} broke", "f") });
    let sections = vec![bench.section(0, neighbour), bench.section(1, panicking)];
    let stop = run_all(sections, &CancellationToken::new()).await;
    let Err(Stop::Failed(error)) = stop else {
        panic!("{stop:?}");
    };
    assert_eq!(error.class, ErrorClass::Bug);
    assert!(error.message.contains("the function f broke"), "{error}");
    assert!(dropped.load(Ordering::SeqCst), "the neighbour was ended");
}

#[tokio::test]
async fn a_panic_in_a_task_that_an_operator_spawned_is_no_passing_failure() {
    let bench = bench();
    let spawned = stream::once(async {
        let join = tokio::spawn(async { panic!("deep down") }).await;
        let error = join.map(|()| batch()).unwrap_err();
        Err(DataFusionError::ExecutionJoin(Box::new(error)).context("while joining"))
    });
    let stop = run_all(vec![bench.section(0, spawned)], &CancellationToken::new()).await;
    let Err(Stop::Failed(error)) = stop else {
        panic!("{stop:?}");
    };
    assert_eq!(error.class, ErrorClass::Bug);
    assert!(error.message.contains("deep down"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_error_ends_all_others() {
    let bench = bench();
    let failing =
        stream::once(async { Err(DataFusionError::ResourcesExhausted("full".to_string())) });
    let sections = vec![bench.section(0, endless()), bench.section(1, failing)];
    let stop = run_all(sections, &CancellationToken::new()).await;
    assert!(
        matches!(&stop, Err(Stop::Failed(error)) if error.class == ErrorClass::Resource),
        "{stop:?}"
    );
}

#[tokio::test]
async fn what_is_gathered_is_written_when_the_rows_end() {
    let bench = bench();
    let exprs = vec![col("n", &schema()).unwrap()];
    let dividing = Dividing {
        partitions: HashPartitions::try_new(exprs, 2).unwrap(),
        divider: Divider::new(schema(), 2),
    };
    // Too few to be divided before their end.
    let rows = stream::iter([Ok(batch()), Ok(batch())]);
    let section = Section {
        route: Route::Hash(Box::new(dividing)),
        ..bench.section(0, rows)
    };
    let ran = run_all(vec![section], &CancellationToken::new()).await;
    assert!(ran.is_ok(), "{ran:?}");
    let output = Arc::into_inner(bench.output).unwrap();
    let Left::Stored(summary) = output.finish().await.unwrap() else {
        panic!("it is in the store");
    };
    assert_eq!(summary.rows, 200);
    assert!(summary.partition_bytes.iter().all(|bytes| *bytes > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_task_has_freed_everything_when_it_returns() {
    let bench = bench();
    let (guard, dropped) = Dropped::new();
    let holding = stream::unfold(guard, |guard| async move {
        tokio::task::yield_now().await;
        Some((Ok(batch()), guard))
    });
    let cancel = CancellationToken::new();
    let section = bench.section(0, holding);
    let progress = section.progress.clone();
    let running = tokio::spawn({
        let cancel = cancel.clone();
        async move { run_all(vec![section], &cancel).await }
    });
    while progress.rows.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    assert!(matches!(running.await.unwrap(), Err(Stop::Cancelled)));
    assert!(dropped.load(Ordering::SeqCst));
    drop(bench.output);
    assert_eq!(bench.store.usage().outputs, 0, "what was written is gone");
}
