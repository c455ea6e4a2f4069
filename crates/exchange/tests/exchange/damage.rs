//! Whatever happens to a file, wrong rows never come out: the output is lost, by name.

use std::fs;

use paceline_exchange::{InputReader, StoreUsage};
use paceline_model::{ErrorClass, OutputId, PartitionRange};

use crate::support::{
    Holder, batch, flip_bit, lost, numbers, output, partition, query, reader, reader_at,
};

const RANGE: PartitionRange = PartitionRange { first: 0, count: 2 };

/// Task 0's output is fine, task 1's is the one to be damaged; both are on disk.
async fn two_outputs(holder: &Holder) -> OutputId {
    let query = query();
    for task in 0..2 {
        let writer = holder.writer(output(query, task), RANGE);
        for p in 0..2 {
            for round in 0..10 {
                writer
                    .write(p, batch(round * 1000..(round + 1) * 1000))
                    .await
                    .unwrap();
            }
        }
        let summary = writer.finish().await.unwrap();
        assert!(summary.disk_bytes > 0);
    }
    output(query, 1)
}

fn file_of(holder: &Holder, id: OutputId) -> std::path::PathBuf {
    let name = format!(
        "{}-{}-{}-{}.frames",
        id.query, id.stage, id.task, id.attempt
    );
    let mut files = holder.files("frames").into_iter();
    files.find(|path| path.ends_with(&name)).unwrap()
}

fn readers(holder: &Holder, id: OutputId) -> [InputReader; 2] {
    let at = [0, 1].map(|task| holder.location(output(id.query, task), RANGE));
    [
        reader(id.query, at.to_vec(), RANGE, 8 << 20),
        reader_at(holder, id.query, at.to_vec(), RANGE),
    ]
}

#[tokio::test]
async fn a_flipped_bit_is_noticed_wherever_it_is() {
    let holder = Holder::on_disk("h").await;
    let id = two_outputs(&holder).await;
    let path = file_of(&holder, id);
    let length = fs::metadata(&path).unwrap().len();
    let [remote, _] = readers(&holder, id);
    assert_eq!(numbers(partition(&remote, 0)).await.unwrap().len(), 20_000);
    // In the first partition's frames: its messages, its bodies.
    for at in [0, 4, 9, 40, 200, length / 4] {
        flip_bit(&path, at);
        let [remote, _] = readers(&holder, id);
        let result = numbers(partition(&remote, 0)).await;
        let class = result.as_ref().unwrap_err().class();
        assert_eq!(class, ErrorClass::OutputLost);
        let (unreachable, reason) = lost(result, 1);
        assert!(!unreachable);
        assert!(reason.contains("checksum"), "{reason}");
        flip_bit(&path, at);
    }
    // A reader in the same process notices too, and then the output is gone from the store.
    flip_bit(&path, 100);
    let [_, local] = readers(&holder, id);
    let (_, reason) = lost(numbers(partition(&local, 0)).await, 1);
    assert!(reason.contains("checksum"), "{reason}");
    assert_eq!(holder.store.finished().len(), 1);
    holder.store.release_query(id.query);
    assert_eq!(holder.store.usage(), StoreUsage::default());
}

#[tokio::test]
async fn a_file_that_is_cut_short_replaced_or_deleted_is_noticed() {
    for damage in ["cut", "replaced", "deleted"] {
        for which in 0..2 {
            let holder = Holder::on_disk("h").await;
            let id = two_outputs(&holder).await;
            let path = file_of(&holder, id);
            let length = fs::metadata(&path).unwrap().len();
            match damage {
                "cut" => fs::File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_len(length - 1)
                    .unwrap(),
                "replaced" => fs::write(&path, vec![7; length as usize]).unwrap(),
                _ => fs::remove_file(&path).unwrap(),
            }
            let readers = readers(&holder, id);
            let result = numbers(partition(&readers[which], 1)).await;
            let named = result.as_ref().unwrap_err().to_query_error();
            assert_eq!(named.lost.len(), 1);
            assert_eq!(named.lost[0].executor, holder.name);
            let (unreachable, reason) = lost(result, 1);
            assert!(!unreachable, "{damage}");
            assert!(reason.contains("file cannot be read"), "{damage}: {reason}");
            // It is no longer in the inventory either.
            let held: Vec<_> = holder
                .store
                .finished()
                .into_iter()
                .map(|(id, _)| id)
                .collect();
            assert_eq!(held, vec![output(id.query, 0)], "{damage}");
        }
    }
}

#[tokio::test]
async fn runs_that_are_damaged_before_the_end_fail_the_attempt() {
    let holder = Holder::on_disk("h").await;
    let id = output(query(), 0);
    let writer = holder.writer(id, RANGE);
    for _ in 0..40 {
        writer.write(0, batch(0..1000)).await.unwrap();
    }
    // The file stays the same; it is written into.
    let runs = holder.files("runs").remove(0);
    let file = fs::File::options().write(true).open(&runs).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"damage", 300).unwrap();
    let error = writer.finish().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Retryable);
    assert!(error.to_string().contains("damaged"), "{error}");
    assert_eq!(holder.store.usage(), StoreUsage::default());
}

#[tokio::test]
async fn an_output_that_is_not_there_or_not_finished_is_lost() {
    let holder = Holder::start("h").await;
    let id = output(query(), 1);
    let [remote, local] = readers(&holder, id);
    for reader in [&remote, &local] {
        let (_, reason) = lost(numbers(partition(reader, 0)).await, 0);
        assert!(reason.contains("not there"), "{reason}");
    }
    holder
        .writer(output(id.query, 0), RANGE)
        .finish()
        .await
        .unwrap();
    let writer = holder.writer(id, RANGE);
    writer.write(0, batch(0..10)).await.unwrap();
    for reader in readers(&holder, id) {
        let (_, reason) = lost(numbers(partition(&reader, 0)).await, 1);
        assert!(reason.contains("not finished"), "{reason}");
    }
}
