//! Where outputs lie, what they cost, and that nothing is left of them.

use std::process::Command;
use std::sync::Arc;

use arrow::array::Array;
use futures::TryStreamExt;
use paceline_exchange::{
    ExchangeMetrics, OutputStore, StoreError, StoreOptions, StoreUsage, Which,
};
use paceline_model::{ByteSize, ErrorClass, OutputId, OutputSummary, PartitionRange};
use prometheus::Registry;

use crate::support::{
    Holder, STAGE, batch, lost, numbers, output, partition, query, reader, reader_at, schema,
    within,
};

#[tokio::test]
async fn a_reader_in_the_same_process_gets_the_very_same_memory() {
    let holder = Holder::start("h").await;
    let id = output(query(), 0);
    let range = PartitionRange::new(5, 1);
    let written = batch(0..8192);
    let writer = holder.writer(id, range);
    writer.write(5, written.clone()).await.unwrap();
    let summary = writer.finish().await.unwrap();
    assert_eq!((summary.rows, summary.disk_bytes), (8192, 0));
    assert_eq!(summary.partition_bytes, vec![summary.bytes]);
    assert_eq!(holder.store.finished(), vec![(id, summary)]);

    let at = vec![holder.location(id, range)];
    let reader = reader_at(&holder, id.query, at, range);
    let read: Vec<_> = within(partition(&reader, 5).try_collect()).await.unwrap();
    let address = |b: &arrow::array::RecordBatch| b.column(0).to_data().buffers()[0].as_ptr();
    assert_eq!(read.len(), 1);
    assert_eq!(address(&read[0]), address(&written));
    let bytes = reader.bytes_read();
    assert!(bytes.local > 0 && bytes.remote == 0);
    assert!(holder.metric("paceline_exchange_served_bytes_total", "local") > 0);

    holder.store.release(&id);
    drop(read);
    assert_eq!(holder.store.usage(), StoreUsage::default());
    assert_eq!(holder.metric("paceline_exchange_memory_bytes", ""), 0);
    assert_eq!(holder.metric("paceline_exchange_outputs", ""), 0);
}

#[tokio::test]
async fn what_does_not_fit_in_memory_becomes_one_file() {
    let holder = Holder::on_disk("h").await;
    let id = output(query(), 0);
    let range = PartitionRange::new(0, 20);
    let writer = holder.writer(id, range);
    // Small bits for 20 partitions in turn: many runs of small frames.
    for round in 0..400 {
        for p in 0..20 {
            let first = round * 50;
            writer.write(p, batch(first..first + 50)).await.unwrap();
        }
    }
    assert_eq!(holder.files("runs").len(), 1);
    assert_eq!(holder.files("frames").len(), 0);
    // No more in memory than an attempt may buffer, and a batch.
    assert!(holder.store.usage().memory_bytes < 512 << 10);
    let summary = writer.finish().await.unwrap();
    assert!(holder.metric("paceline_exchange_spills_total", "") > 5);
    assert_eq!(holder.files("runs").len() + holder.files("tmp").len(), 0);
    let files = holder.files("frames");
    assert_eq!(files.len(), 1);
    let length = std::fs::metadata(&files[0]).unwrap().len();
    assert_eq!(summary.disk_bytes, length);
    assert_eq!(summary.rows, 400 * 50 * 20);
    let usage = holder.store.usage();
    assert_eq!((usage.memory_bytes, usage.disk_bytes), (0, length));

    let at = vec![holder.location(id, range)];
    let remote = reader(id.query, at.clone(), range, 8 << 20);
    let local = reader_at(&holder, id.query, at, range);
    for p in 0..20 {
        for reader in [&remote, &local] {
            let read: Vec<_> = within(partition(reader, p).try_collect()).await.unwrap();
            // 20,000 rows that came in 400 bits.
            assert!(read.len() <= 4, "{} frames", read.len());
            let read: Vec<_> = read.iter().flat_map(crate::support::numbers_in).collect();
            assert!(read.into_iter().eq(0..20_000));
        }
    }
    holder.store.release_query(id.query);
    assert_eq!(holder.store.usage(), StoreUsage::default());
    assert_eq!(holder.files("frames").len(), 0);
    assert_eq!(holder.metric("paceline_exchange_disk_bytes", ""), 0);
}

/// What an attempt may always buffer must not stay once it is whole: outputs would add up to any size.
#[tokio::test]
async fn what_stays_in_memory_is_never_more_than_the_limit() {
    const LIMIT: u64 = 1 << 20;
    const BUFFER: u64 = 256 << 10;
    let holder = Holder::start_with("h", |options| {
        options.memory_limit = ByteSize(LIMIT);
        options.attempt_buffer = ByteSize(BUFFER);
    })
    .await;
    let (query, range) = (query(), PartitionRange::new(0, 4));
    let mut outputs = Vec::new();
    for task in 0..20 {
        // Less than may be buffered, and more, in turn.
        let rounds = if task % 2 == 0 { 1 } else { 4 };
        let id = output(query, task);
        let writer = holder.writer(id, range);
        for round in 0..rounds {
            for p in range.iter() {
                let first = round * 500;
                writer.write(p, batch(first..first + 500)).await.unwrap();
                let used = holder.store.usage().memory_bytes;
                assert!(used <= LIMIT + BUFFER, "{used} bytes while it is written");
            }
        }
        let summary = writer.finish().await.unwrap();
        assert_eq!(summary.rows, 500 * 4 * rounds as u64);
        let used = holder.store.usage().memory_bytes;
        assert!(used <= LIMIT, "{used} bytes after task {task}");
        outputs.push((id, summary));
    }
    let (on_disk, in_memory): (Vec<_>, Vec<_>) = outputs
        .iter()
        .partition(|(_, summary)| summary.disk_bytes > 0);
    let small = |(id, _): &&(OutputId, _)| id.task.0 % 2 == 0;
    assert!(
        in_memory.len() > 1 && on_disk.iter().any(small),
        "{outputs:?}"
    );
    let usage = holder.store.usage();
    assert!(usage.memory_bytes > LIMIT / 2, "the budget is used");
    assert_eq!(holder.files("frames").len(), on_disk.len(), "one file each");
    assert_eq!(holder.files("runs").len() + holder.files("tmp").len(), 0);
    let stored = |tier| holder.metric("paceline_exchange_stored_bytes_total", tier);
    let bytes = |of: &[&(OutputId, OutputSummary)], each: fn(&OutputSummary) -> u64| -> u64 {
        of.iter().map(|(_, summary)| each(summary)).sum()
    };
    assert_eq!(stored("memory"), bytes(&in_memory, |summary| summary.bytes));
    let written = bytes(&on_disk, |summary| summary.disk_bytes);
    assert_eq!((stored("disk"), usage.disk_bytes), (written, written));

    for (id, summary) in &outputs {
        let reader = reader_at(&holder, query, vec![holder.location(*id, range)], range);
        for p in range.iter() {
            let read = numbers(partition(&reader, p)).await.unwrap();
            assert!(read.into_iter().eq(0..summary.rows as i64 / 4));
        }
    }
    // Once there is room again, what comes stays.
    for (id, _) in &in_memory {
        holder.store.release(id);
    }
    let writer = holder.writer(output(query, 20), range);
    writer.write(0, batch(0..500)).await.unwrap();
    assert_eq!(writer.finish().await.unwrap().disk_bytes, 0);
}

#[tokio::test]
async fn partitions_written_at_the_same_time_all_arrive() {
    let holder = Holder::on_disk("h").await;
    let id = output(query(), 0);
    let range = PartitionRange::new(0, 8);
    let writer = Arc::new(holder.writer(id, range));
    let mut tasks = tokio::task::JoinSet::new();
    for p in 0..8 {
        let writer = Arc::clone(&writer);
        tasks.spawn(async move {
            for round in 0..50 {
                let first = round * 1000;
                writer.write(p, batch(first..first + 1000)).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    Arc::into_inner(writer).unwrap().finish().await.unwrap();
    let reader = reader(id.query, vec![holder.location(id, range)], range, 1 << 20);
    for p in 0..8 {
        let read = numbers(partition(&reader, p)).await.unwrap();
        assert!(read.into_iter().eq(0..50_000));
    }
}

#[tokio::test]
async fn an_attempt_that_does_not_finish_leaves_nothing() {
    let holder = Holder::on_disk("h").await;
    let id = output(query(), 0);
    let range = PartitionRange::new(0, 2);
    let writer = holder.writer(id, range);
    for _ in 0..40 {
        writer.write(1, batch(0..1000)).await.unwrap();
    }
    assert!(holder.store.usage().disk_bytes > 0);
    drop(writer);
    assert_eq!(holder.store.usage(), StoreUsage::default());
    assert_eq!(holder.files("runs").len(), 0);
    let reader = reader_at(&holder, id.query, vec![holder.location(id, range)], range);
    lost(numbers(partition(&reader, 1)).await, 0);
    // The name is free again.
    holder.writer(id, range).finish().await.unwrap();
}

#[tokio::test]
async fn an_output_that_is_released_while_it_is_written_cannot_be_finished() {
    let holder = Holder::on_disk("h").await;
    let id = output(query(), 0);
    let writer = holder.writer(id, PartitionRange::new(0, 1));
    for _ in 0..40 {
        writer.write(0, batch(0..1000)).await.unwrap();
    }
    holder.store.release_query(id.query);
    assert_eq!(holder.store.usage(), StoreUsage::default());
    let error = writer.write(0, batch(0..1000)).await.unwrap_err();
    assert!(matches!(error, StoreError::Released { .. }));
    let error = writer.finish().await.unwrap_err();
    assert!(matches!(error, StoreError::Released { .. }), "{error}");
    assert_eq!(holder.store.usage(), StoreUsage::default());
    assert!(holder.files("frames").is_empty() && holder.files("runs").is_empty());
}

#[tokio::test]
async fn what_processes_leave_behind_is_removed_by_the_next() {
    let holder = Holder::on_disk("h").await;
    let writer = holder.writer(output(query(), 0), PartitionRange::new(0, 1));
    for _ in 0..40 {
        writer.write(0, batch(0..1000)).await.unwrap();
    }
    let leftover = holder.directory.path().join("life-before");
    std::fs::create_dir(&leftover).unwrap();
    std::fs::write(leftover.join("lock"), "").unwrap();
    std::fs::write(leftover.join("x.frames"), "some bytes").unwrap();
    let metrics = ExchangeMetrics::register(&Registry::new()).unwrap();
    let options = StoreOptions::new(holder.directory.path());
    let next = OutputStore::open(options, metrics).unwrap();
    assert!(!leftover.exists());
    // The neighbour that lives is left alone.
    assert_eq!(holder.files("runs").len(), 1);
    writer.finish().await.unwrap();
    let lives = || {
        std::fs::read_dir(holder.directory.path())
            .unwrap()
            .flatten()
    };
    let lives = || lives().filter(|entry| entry.path().is_dir()).count();
    assert_eq!(lives(), 2);
    drop(next);
    assert_eq!(lives(), 1);
}

#[tokio::test]
async fn encoding_for_several_readers_happens_once_and_is_accounted_for() {
    let holder = Holder::start("h").await;
    let id = output(query(), 0);
    let range = PartitionRange::new(0, 1);
    let writer = holder.writer(id, range);
    for _ in 0..10 {
        writer.write(0, batch(0..8192)).await.unwrap();
    }
    writer.finish().await.unwrap();
    let before = holder.store.usage().memory_bytes;
    let mut after = Vec::new();
    for _ in 0..3 {
        let at = vec![holder.location(id, range)];
        let reader = reader(id.query, at, range, 8 << 20);
        let rows = reader.read(STAGE, Which::Whole).unwrap();
        assert_eq!(numbers(rows).await.unwrap().len(), 81_920);
        after.push(holder.store.usage().memory_bytes);
    }
    assert!(after[0] > before, "the encoded frames are kept and charged");
    assert_eq!(after, vec![after[0]; 3]);
    holder.store.release(&id);
    crate::support::until("freed", || holder.store.usage().memory_bytes == 0).await;
}

/// Runs this very test again in a process that may not write large files, as if the disk were full.
#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    const INNER: &str = "PACELINE_TEST_FULL_DISK";
    if std::env::var_os(INNER).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(write_until_full());
    }
    let test = std::env::current_exe().unwrap();
    // Blocks of 512 bytes: 1 MiB. The signal that comes with the error is ignored.
    let script = r#"trap "" XFSZ; ulimit -f 2048; exec "$0" --exact --nocapture "$1""#;
    let name = "disk::a_full_disk_is_said_and_leaves_nothing";
    let inner = Command::new("sh")
        .args(["-c", script])
        .arg(test)
        .arg(name)
        .env(INNER, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inner.stdout).into_owned();
    let error = String::from_utf8_lossy(&inner.stderr).into_owned();
    assert!(inner.status.success(), "{said}{error}");
    assert!(said.contains("1 passed"), "{said}");
}

async fn write_until_full() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(directory.path());
    options.memory_limit = ByteSize(0);
    options.attempt_buffer = ByteSize(256 << 10);
    let metrics = ExchangeMetrics::register(&Registry::new()).unwrap();
    let store = OutputStore::open(options, metrics).unwrap();
    let id = output(query(), 0);
    let writer = store
        .create(id, schema(), PartitionRange::new(0, 1))
        .unwrap();
    let mut error = None;
    for round in 0..10_000 {
        let first = round * 7919;
        if let Err(e) = writer
            .write(0, batch((first..first + 1000).map(|i| i * i)))
            .await
        {
            error = Some(e);
            break;
        }
    }
    let error = error.expect("it should not fit");
    assert_eq!(error.class(), ErrorClass::Resource, "{error}");
    assert!(error.to_string().contains("no space left"), "{error}");
    assert!(
        error
            .to_string()
            .contains(directory.path().to_str().unwrap()),
        "{error}"
    );
    drop(writer);
    assert_eq!(store.usage(), StoreUsage::default());
}
