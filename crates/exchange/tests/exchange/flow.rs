//! Order, credit and budgets: whatever is read in whatever order, it comes, and in its order.

use futures::{StreamExt, TryStreamExt};
use paceline_exchange::{ReadError, Which};
use paceline_model::{OutputLocation, PartitionRange, QueryId, StageId};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::support::{
    Holder, STAGE, batch, numbers, numbers_in, output, partition, query, reader, reader_at, until,
    within,
};

/// Outputs of `tasks` tasks over all partitions, on the holders in turn. The numbers say where they
/// belong: task, partition, row.
async fn hash_exchange(
    holders: &[Holder],
    query: QueryId,
    tasks: u32,
    partitions: u32,
    rows: i64,
) -> Vec<OutputLocation> {
    let range = PartitionRange::new(0, partitions);
    let mut locations = Vec::new();
    for task in 0..tasks {
        let holder = &holders[task as usize % holders.len()];
        let id = output(query, task);
        let writer = holder.writer(id, range);
        for p in range.iter() {
            for rows in chunks(rows) {
                let rows = rows.map(|row| number(task, p, row));
                writer.write(p, batch(rows)).await.unwrap();
            }
        }
        writer.finish().await.unwrap();
        locations.push(holder.location(id, range));
    }
    locations
}

fn chunks(rows: i64) -> impl Iterator<Item = std::ops::Range<i64>> {
    (0..rows)
        .step_by(8192)
        .map(move |first| first..rows.min(first + 8192))
}

fn number(task: u32, partition: u32, row: i64) -> i64 {
    (i64::from(task) * 10_000 + i64::from(partition)) * 1_000_000 + row
}

/// What a partition holds: from each of so many holders the rows of its tasks, in their order. Each
/// partition begins with another holder.
fn expected(tasks: u32, holders: u32, partition: u32, rows: i64) -> Vec<i64> {
    let turns = (0..holders).map(move |turn| (partition + turn) % holders);
    let tasks = turns.flat_map(|holder| (0..tasks).filter(move |task| task % holders == holder));
    tasks
        .flat_map(|task| (0..rows).map(move |row| number(task, partition, row)))
        .collect()
}

async fn three() -> [Holder; 3] {
    [
        Holder::start("a").await,
        Holder::on_disk("b").await,
        Holder::start("c").await,
    ]
}

#[tokio::test]
async fn a_partition_comes_holder_by_holder_and_in_order_of_its_tasks() {
    let holders = three().await;
    let query = query();
    let at = hash_exchange(&holders, query, 7, 4, 20_000).await;
    let range = PartitionRange::new(1, 2);
    for budget in [1, 1 << 20, 64 << 20] {
        let reader = reader(query, at.clone(), range, budget);
        for p in [2, 1] {
            let read = numbers(partition(&reader, p)).await.unwrap();
            assert_eq!(read, expected(7, 3, p, 20_000));
        }
        assert!(reader.bytes_read().remote > 0);
        let other = reader.read(STAGE, Which::Partition(3));
        assert!(matches!(
            other.err(),
            Some(ReadError::UnknownPartition { .. })
        ));
        let other = reader.read(StageId(99), Which::Whole);
        assert!(matches!(other.err(), Some(ReadError::UnknownInput { .. })));
    }
    // And the same to whom some of it is local.
    let own = reader_at(&holders[1], query, at, range);
    for p in [1, 2] {
        let read = numbers(partition(&own, p)).await.unwrap();
        assert_eq!(read, expected(7, 3, p, 20_000));
    }
    assert!(own.bytes_read().local > 0);
    // One stream for each reader and holder: as many as there were requests.
    for holder in &holders {
        let serving = || holder.metric("paceline_exchange_serving_streams", "");
        until("streams end", || serving() == 0).await;
    }
}

#[tokio::test]
async fn a_whole_hash_exchange_comes_task_by_task() {
    let holders = three().await;
    let query = query();
    let at = hash_exchange(&holders, query, 5, 6, 3_000).await;
    let mut all = Vec::new();
    for task in 0..5 {
        for p in 0..6 {
            all.extend((0..3_000).map(|row| number(task, p, row)));
        }
    }
    for budget in [1, 64 << 20] {
        let reader = reader(query, at.clone(), PartitionRange::new(0, 6), budget);
        // Any number of times, also at the same time.
        let twice = [(); 2].map(|()| reader.read(STAGE, Which::Whole).unwrap());
        let [first, second] = twice.map(numbers);
        let (first, second) = tokio::join!(first, second);
        assert_eq!(first.unwrap(), all);
        assert_eq!(second.unwrap(), all);
    }
}

#[tokio::test]
async fn a_gather_reads_each_task_s_own_partitions() {
    let holders = three().await;
    let query = query();
    let mut at = Vec::new();
    for task in 0..6 {
        let holder = &holders[task as usize % 3];
        let range = PartitionRange::new(task * 2, 2);
        let id = output(query, task);
        let writer = holder.writer(id, range);
        for p in range.iter().filter(|p| p % 3 != 0) {
            writer
                .write(p, batch((0..9_000).map(|row| number(task, p, row))))
                .await
                .unwrap();
        }
        writer.finish().await.unwrap();
        at.push(holder.location(id, range));
    }
    let reader = reader(query, at, PartitionRange::new(0, 12), 1 << 20);
    let partitions = (0..12).filter(|p| p % 3 != 0);
    let all = partitions.flat_map(|p| (0..9_000).map(move |row| number(p / 2, p, row)));
    let all: Vec<_> = all.collect();
    let whole = reader.read(STAGE, Which::Whole).unwrap();
    assert_eq!(numbers(whole).await.unwrap(), all);
    // And one by one, each from the one task that has it; empty ones too.
    let mut one_by_one = Vec::new();
    for p in 0..12 {
        one_by_one.extend(numbers(partition(&reader, p)).await.unwrap());
    }
    assert_eq!(one_by_one, all);
}

/// Also where a holder has several of the outputs that a consumer reads.
#[tokio::test]
async fn each_holder_sends_all_its_partitions_over_one_stream() {
    let holders = three().await;
    let query = query();
    let at = hash_exchange(&holders, query, 6, 5, 20_000).await;
    let reader = reader(query, at, PartitionRange::new(0, 5), 1);
    let mut streams: Vec<_> = (0..5).map(|p| partition(&reader, p)).collect();
    let mut read = Vec::new();
    for rows in &mut streams {
        let first = within(rows.try_next()).await.unwrap().unwrap();
        read.push(numbers_in(&first));
    }
    let serving = |holder: &Holder| holder.metric("paceline_exchange_serving_streams", "");
    assert_eq!(serving(&holders[0]), 1, "all partitions are open");
    for (p, (rows, mut read)) in (0..).zip(streams.into_iter().zip(read)) {
        read.extend(numbers(rows).await.unwrap());
        assert_eq!(read, expected(6, 3, p, 20_000));
        for holder in &holders {
            assert!(serving(holder) <= 1, "more streams than holders");
        }
    }
    drop(reader);
    for holder in &holders {
        until("streams end", || serving(holder) == 0).await;
    }
}

#[tokio::test]
async fn partitions_that_are_read_together_begin_with_every_holder() {
    let holders = [
        Holder::start("a").await,
        Holder::start("b").await,
        Holder::start("c").await,
        Holder::start("d").await,
    ];
    let query = query();
    let at = hash_exchange(&holders, query, 8, 16, 100).await;
    // Not enough to read anything ahead.
    let reader = reader(query, at, PartitionRange::new(0, 16), 1 << 20);
    let mut streams: Vec<_> = (0..16).map(|p| partition(&reader, p)).collect();
    let mut first = Vec::new();
    for rows in &mut streams {
        first.push(numbers_in(&within(rows.try_next()).await.unwrap().unwrap()));
    }
    for holder in &holders {
        let serving = holder.metric("paceline_exchange_serving_streams", "");
        assert_eq!(serving, 1, "holder {} waits for its turn", holder.name);
    }
    for (p, (rows, mut read)) in (0..).zip(streams.into_iter().zip(first)) {
        read.extend(numbers(rows).await.unwrap());
        assert_eq!(read, expected(8, 4, p, 100));
    }
}

#[tokio::test]
async fn no_order_of_reading_gets_stuck_however_small_the_budget() {
    let holders = three().await;
    let query = query();
    let at = hash_exchange(&holders, query, 6, 3, 30_000).await;
    let range = PartitionRange::new(0, 3);
    for budget in [1, 1 << 20] {
        // One partition is begun, then all of the others is read before it goes on.
        let backwards = reader(query, at.clone(), range, budget);
        let mut first = partition(&backwards, 0);
        let mut begun = numbers_in(&within(first.try_next()).await.unwrap().unwrap());
        for p in [2, 1] {
            assert_eq!(
                numbers(partition(&backwards, p)).await.unwrap(),
                expected(6, 3, p, 30_000)
            );
        }
        begun.extend(numbers(first).await.unwrap());
        assert_eq!(begun, expected(6, 3, 0, 30_000));

        // As a merge does: now from this one, now from that one.
        let merging = reader(query, at.clone(), range, budget);
        let mut streams: Vec<_> = (0..3).map(|p| partition(&merging, p)).collect();
        let mut read = vec![Vec::new(); 3];
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        let mut open = vec![0, 1, 2];
        while !open.is_empty() {
            let at = random.random_range(0..open.len());
            let p: usize = open[at];
            match within(streams[p].try_next()).await.unwrap() {
                Some(batch) => read[p].extend(numbers_in(&batch)),
                None => drop(open.remove(at)),
            }
        }
        for (p, read) in read.into_iter().enumerate() {
            assert_eq!(read, expected(6, 3, p as u32, 30_000));
        }
    }
}

#[tokio::test]
async fn a_holder_sends_no_more_than_it_has_credit_for() {
    let holder = [Holder::start("a").await];
    let query = query();
    // 30 frames in each partition, each of 8192 rows.
    let at = hash_exchange(&holder, query, 1, 4, 30 * 8192).await;
    let reader = reader(query, at, PartitionRange::new(0, 4), 1);
    let mut streams: Vec<_> = (0..4).map(|p| partition(&reader, p)).collect();
    let sent = || holder[0].metric("paceline_exchange_served_frames_total", "remote");
    for rows in &mut streams {
        within(rows.try_next()).await.unwrap().unwrap();
    }
    // One that was read and one that may be under way, for each; and then it is quiet.
    until("the next frames", || sent() == 8).await;
    // All four partitions are open, and come over one stream.
    let serving = || holder[0].metric("paceline_exchange_serving_streams", "");
    assert_eq!(serving(), 1);
    for rows in &mut streams {
        within(rows.try_next()).await.unwrap().unwrap();
    }
    until("the next frames", || sent() == 12).await;
    drop((streams, reader));
    until("the stream ends", || serving() == 0).await;
    assert_eq!(sent(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_partitions_come_from_several_outputs() {
    let holders = [Holder::start("a").await, Holder::on_disk("b").await];
    let query = query();
    let range = PartitionRange::new(0, 2000);
    let mut at = Vec::new();
    for task in 0..4 {
        let holder = &holders[task as usize % 2];
        let id = output(query, task);
        let writer = holder.writer(id, range);
        // A few rows at a time, as hashing brings them.
        for round in 0..20 {
            for p in range.iter() {
                let rows = (0..4).map(|row| number(task, p, round * 4 + row));
                writer.write(p, batch(rows)).await.unwrap();
            }
        }
        writer.finish().await.unwrap();
        at.push(holder.location(id, range));
    }
    // 4 consumers, each with a quarter, 16 partitions at a time, in any order.
    let mut consumers = tokio::task::JoinSet::new();
    for consumer in 0..4 {
        let range = PartitionRange::new(consumer * 500, 500);
        let reader = reader(query, at.clone(), range, 1 << 20);
        consumers.spawn(async move {
            let mut partitions: Vec<_> = range.iter().collect();
            partitions.shuffle(&mut rand::rngs::StdRng::seed_from_u64(consumer.into()));
            let reads = partitions.into_iter().map(|p| {
                let rows = partition(&reader, p);
                async move { (p, numbers(rows).await.unwrap()) }
            });
            let mut reads = futures::stream::iter(reads).buffer_unordered(16);
            while let Some((p, read)) = reads.next().await {
                assert_eq!(read, expected(4, 2, p, 80));
            }
        });
    }
    while let Some(done) = within(consumers.join_next()).await {
        done.unwrap();
    }
    // Tiny bits were joined: each partition of each output is a frame or two.
    let frames: u64 = holders
        .iter()
        .map(|h| h.metric("paceline_exchange_served_frames_total", "remote"))
        .sum();
    assert!((8_000..12_000).contains(&frames), "{frames} frames");
}
