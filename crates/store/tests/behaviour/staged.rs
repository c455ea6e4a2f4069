//! What interrupted uploads leave in a directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use paceline_store::{Created, Key, Results, Swept};

use crate::garbage::{beat, garbage};
use crate::journal::query;
use crate::places::inside;

const HOUR: Duration = Duration::from_secs(3600);

/// A file that was written last at that time, as were the folders that it is in.
fn leave(directory: &Path, name: &str, written: SystemTime) -> PathBuf {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, b"x").unwrap();
    for path in path.ancestors().take_while(|path| *path != directory) {
        let file = File::open(path).unwrap();
        file.set_modified(written).unwrap();
    }
    path
}

#[tokio::test]
async fn what_interrupted_uploads_left_goes_in_time_and_is_never_listed() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let state = inside(directory);
    beat(state.clone()).await;
    let beacon = fs::metadata(directory.join("members/b")).unwrap();
    let now = beacon.modified().unwrap();
    let result = format!("results/{}", query(7));
    let index = format!("{result}/00000000000000000000/index#1");
    let old = [
        "journal/a/00000000000000000000#1",
        "catalog/00000000000000000001#12",
        index.as_str(),
        "data/t/q/1-0-0-0.parquet#2",
    ]
    .map(|name| leave(directory, name, now - 2 * HOUR));
    // Objects, whatever they are called; and what may be written to yet.
    let stays = [
        leave(directory, "data/t/q/1-0-0-0.parquet", now - 2 * HOUR),
        leave(directory, "data/t/q/x#", now - 2 * HOUR),
        leave(directory, "data/t/q/x#1y", now - 2 * HOUR),
        leave(directory, "x/y#1", now),
    ];
    for folder in ["journal", "catalog", "results"].map(Key::new) {
        assert_eq!(state.list(&folder, None).await, Ok(vec![]), "{folder}");
        assert_eq!(state.folders(&folder).await, Ok(vec![]), "{folder}");
    }
    assert_eq!(Results::new(state.clone()).queries().await, Ok(vec![]));

    let garbage = garbage(state.clone());
    let swept = Swept {
        staged: old.len(),
        ..Swept::default()
    };
    assert_eq!(garbage.sweep(HOUR).await, Ok(swept));
    assert_eq!(garbage.sweep(HOUR).await, Ok(Swept::default()));
    assert!(old.iter().all(|path| !path.exists()), "{old:?}");
    assert!(stays.iter().all(|path| path.exists()), "{stays:?}");
    assert!(!directory.join(result).exists(), "a folder is nothing");
    // What another process is about to write is in nobody's way.
    let key = Key::new("x").child("y");
    assert_eq!(state.create(&key, b"z").await, Ok(Created::Won));
    assert_eq!(state.list(&Key::new("x"), None).await, Ok(vec![key]));
    assert_eq!(state.folders(&Key::new("data")).await.unwrap().len(), 1);
}
