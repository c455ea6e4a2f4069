//! Files of outputs are as their manifests say, and what goes wrong while they are written is told.

use std::fs;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use paceline_model::{
    Attempt, ByteSize, ErrorClass, OutputId, PartitionRange, QueryId, StageId, TaskId,
};
use prometheus::Registry;
use uuid::Uuid;

use super::*;
use crate::frame::Piece;
use crate::store::manifest::Manifest;
use crate::{ExchangeMetrics, OutputStore, StoreOptions, StoreUsage};

const OUTPUT: OutputId = OutputId {
    query: QueryId(Uuid::nil()),
    stage: StageId(0),
    task: TaskId(0),
    attempt: Attempt(0),
};

/// A store that keeps nothing in memory.
fn on_disk(directory: &tempfile::TempDir) -> OutputStore {
    let options = StoreOptions {
        memory_limit: ByteSize(0),
        attempt_buffer: ByteSize(64 << 10),
        ..StoreOptions::new(directory.path())
    };
    let metrics = ExchangeMetrics::register(&Registry::new()).unwrap();
    OutputStore::open(options, metrics).unwrap()
}

/// So many columns of numbers.
fn numbers(columns: usize) -> Arc<Schema> {
    let fields = (0..columns).map(|n| Field::new(n.to_string(), DataType::Int64, false));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn thousand(schema: &Arc<Schema>, first: i64) -> RecordBatch {
    let numbers = Int64Array::from_iter_values(first..first + 1000);
    let columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(numbers)];
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

/// A batch that lacks a column cannot be written here. Arrow does not say so where it joins batches:
/// it looks for the column.
#[tokio::test]
async fn a_panic_while_a_file_is_written_is_told_as_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = on_disk(&directory);
    let writer = store
        .create(OUTPUT, numbers(2), PartitionRange::new(0, 1))
        .unwrap();
    let output = store.get(&OUTPUT).unwrap();
    for first in [0, 1000] {
        let piece = Piece {
            batch: thousand(&numbers(1), first),
            used: 8000,
            charge: output.account.charge(8000),
        };
        output.add(0, piece).unwrap();
        output.complete_pending(&mut output.parts[0].lock());
    }
    let error = writer.finish().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Bug, "{error}");
    assert!(error.to_string().contains("index is 1"), "{error}");
    drop(output);
    assert_eq!(store.usage(), StoreUsage::default(), "nothing is left");
}

#[tokio::test]
async fn the_file_has_one_partition_after_the_other_however_they_were_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = on_disk(&directory);
    let (id, schema) = (OUTPUT, numbers(1));
    let range = PartitionRange::new(3, 4);
    let writer = store.create(id, Arc::clone(&schema), range).unwrap();
    for round in 0..20 {
        for partition in range.iter() {
            let batch = thousand(&schema, round * 1000);
            writer.write(partition, batch).await.unwrap();
        }
    }
    let summary = writer.finish().await.unwrap();

    let output = store.get(&id).unwrap();
    let file = fs::read(&output.path).unwrap();
    assert_eq!(file.len() as u64, summary.disk_bytes);
    let manifest = Manifest::parse(&file).unwrap();
    assert_eq!(manifest.range, range);
    let mut at = 0;
    for partition in &manifest.partitions {
        assert_eq!(partition.rows, 20_000);
        for frame in &partition.frames {
            assert_eq!(frame.offset, at, "partitions lie side by side, in order");
            at += frame.bytes;
        }
    }
}
