//! Reading outputs that are still being written.

use futures::TryStreamExt;
use paceline_exchange::InputReader;
use paceline_model::{OutputId, PartitionRange};

use crate::support::{
    Holder, batch, lost, numbers, numbers_in, output, partition, query, reader, reader_at, until,
    within,
};

const RANGE: PartitionRange = PartitionRange { first: 0, count: 2 };

fn followers(holder: &Holder, id: OutputId) -> [InputReader; 2] {
    followers_of(holder, id, RANGE)
}

fn followers_of(holder: &Holder, id: OutputId, range: PartitionRange) -> [InputReader; 2] {
    let at = vec![holder.location(id, range)];
    [
        reader(id.query, at.clone(), range, 8 << 20).following(),
        reader_at(holder, id.query, at, range).following(),
    ]
}

#[tokio::test]
async fn frames_are_read_as_they_are_written_and_move_under_the_reader() {
    for holder in [Holder::start("m").await, Holder::on_disk("d").await] {
        let id = output(query(), 0);
        let writer = holder.writer(id, RANGE);
        let readers = followers(&holder, id);
        let mut rows: Vec<_> = readers.iter().map(|reader| partition(reader, 1)).collect();
        let mut read = vec![Vec::new(), Vec::new()];
        for round in 0..30 {
            let first = round * 8192;
            writer.write(0, batch(0..100)).await.unwrap();
            writer.write(1, batch(first..first + 8192)).await.unwrap();
            // Each frame arrives before the next is written.
            for (rows, read) in rows.iter_mut().zip(&mut read) {
                while (read.len() as i64) < first + 8192 {
                    let batch = within(rows.try_next()).await.unwrap().unwrap();
                    read.extend(numbers_in(&batch));
                }
            }
        }
        writer.finish().await.unwrap();
        for (rows, read) in rows.iter_mut().zip(&mut read) {
            assert!(within(rows.try_next()).await.unwrap().is_none());
            assert!(read.iter().copied().eq(0..30 * 8192));
        }
        // Those who come later find the same.
        for reader in followers(&holder, id) {
            assert_eq!(numbers(partition(&reader, 0)).await.unwrap().len(), 3000);
            let read = numbers(partition(&reader, 1)).await.unwrap();
            assert!(read.into_iter().eq(0..30 * 8192));
        }
    }
}

#[tokio::test]
async fn readers_in_the_middle_of_runs_go_on_in_the_final_file() {
    let holder = Holder::on_disk("d").await;
    let id = output(query(), 0);
    let range = PartitionRange::new(0, 8);
    let writer = holder.writer(id, range);
    let write = async |from: i64, to: i64| {
        for round in from..to {
            for p in 0..8 {
                writer
                    .write(p, batch(round * 100..(round + 1) * 100))
                    .await
                    .unwrap();
            }
        }
    };
    write(0, 200).await;
    // One partition is followed, in small frames from runs; the other is read only afterwards.
    let readers = followers_of(&holder, id, range);
    let mut rows: Vec<_> = readers.iter().map(|reader| partition(reader, 0)).collect();
    let mut read = vec![Vec::new(), Vec::new()];
    for (rows, read) in rows.iter_mut().zip(&mut read) {
        for _ in 0..3 {
            let batch = within(rows.try_next()).await.unwrap().unwrap();
            read.extend(numbers_in(&batch));
        }
    }
    write(200, 400).await;
    writer.finish().await.unwrap();
    for (rows, mut read) in rows.into_iter().zip(read) {
        read.extend(numbers(rows).await.unwrap());
        assert!(read.into_iter().eq(0..40_000));
    }
    for reader in &readers {
        let read: Vec<_> = within(partition(reader, 1).try_collect()).await.unwrap();
        assert!(read.len() <= 6, "{} frames were not joined", read.len());
        let read: Vec<_> = read.iter().flat_map(numbers_in).collect();
        assert!(read.into_iter().eq(0..40_000));
    }
}

#[tokio::test]
async fn a_follower_of_an_attempt_that_dies_finds_it_lost() {
    let holder = Holder::start("h").await;
    for release in [false, true] {
        let id = output(query(), 0);
        let writer = holder.writer(id, RANGE);
        writer.write(0, batch(0..8192)).await.unwrap();
        let readers = followers(&holder, id);
        let mut waiting = Vec::new();
        for reader in &readers {
            let mut rows = partition(reader, 0);
            assert!(within(rows.try_next()).await.unwrap().is_some());
            waiting.push(tokio::spawn(numbers(rows)));
        }
        if release {
            holder.store.release(&id);
        }
        drop(writer);
        for waiting in waiting {
            let (unreachable, reason) = lost(waiting.await.unwrap(), 0);
            assert!(!unreachable);
            let expected = if release {
                "released"
            } else {
                "did not finish"
            };
            assert!(reason.contains(expected), "{reason}");
        }
    }
}

#[tokio::test]
async fn a_release_in_the_middle_of_a_read_ends_it() {
    let holder = Holder::on_disk("h").await;
    let id = output(query(), 0);
    let writer = holder.writer(id, RANGE);
    for round in 0..200 {
        writer
            .write(0, batch(round * 8192..(round + 1) * 8192))
            .await
            .unwrap();
    }
    writer.finish().await.unwrap();
    let at = vec![holder.location(id, RANGE)];
    // A budget that does not let the reader have it all by then.
    let remote = reader(id.query, at.clone(), RANGE, 1);
    let local = reader_at(&holder, id.query, at, RANGE);
    let mut streams = vec![partition(&remote, 0), partition(&local, 0)];
    for rows in &mut streams {
        assert!(within(rows.try_next()).await.unwrap().is_some());
    }
    holder.store.release(&id);
    assert_eq!(holder.files("frames").len(), 0);
    for rows in streams {
        let (_, reason) = lost(numbers(rows).await, 0);
        assert!(reason.contains("released"), "{reason}");
    }
    let serving = || holder.metric("paceline_exchange_serving_streams", "");
    drop(remote);
    until("the stream ends", || serving() == 0).await;
}
