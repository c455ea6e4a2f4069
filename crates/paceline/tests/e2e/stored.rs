//! What lies in the state directory: changes of the catalog, and the files of tables.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use paceline_model::QueryId;
use serde_json::Value;

use crate::held::Held;
use crate::support::{Running, until};

/// Every file below a directory, however deep.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![directory.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push(entry.path()),
                Ok(_) => files.push(entry.path()),
                // It has gone meanwhile.
                Err(_) => {}
            }
        }
    }
    files
}

/// The same without what a process left that was killed in the middle of writing: that lies beside its
/// name, and is an object to nobody.
pub(crate) fn objects_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = files_below(directory);
    files.retain(|path| !path.display().to_string().contains('#'));
    files
}

/// A folder of the state.
pub(crate) fn state(running: &Running, below: &str) -> PathBuf {
    running.directory.path().join("state").join(below)
}

/// Every change in the catalog log, in order.
pub(crate) fn changes(running: &Running) -> Vec<Value> {
    let mut entries = objects_below(&state(running, "catalog"));
    entries.sort();
    let change = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        let start = bytes.iter().position(|byte| *byte == b'{').unwrap();
        let entry: Value = serde_json::from_slice(&bytes[start..]).unwrap();
        entry["change"].clone()
    };
    entries.iter().map(change).collect()
}

/// The entries of a query.
pub(crate) fn entries_of(running: &Running, query: QueryId) -> Vec<Value> {
    let query = Value::String(query.to_string());
    let all = changes(running).into_iter();
    all.filter(|change| change["query"] == query).collect()
}

/// The files that lie where tables are stored, and those that the catalog names.
pub(crate) fn stored_and_named(running: &Running) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let data = state(running, "data");
    let mut named = BTreeSet::new();
    for change in changes(running) {
        let table = change["table"]["id"].as_str().or(change["table"].as_str());
        for file in change["files"].as_array().into_iter().flatten() {
            named.insert(
                data.join(table.unwrap())
                    .join(file["path"].as_str().unwrap()),
            );
        }
    }
    (objects_below(&data).into_iter().collect(), named)
}

/// Nothing lies around but what the catalog names, once the end of the query was told.
pub(crate) async fn nothing_else_is_stored(running: &Running) {
    until("nothing is left behind", || async {
        let (stored, named) = stored_and_named(running);
        (stored == named).then_some(())
    })
    .await;
}

/// Holds up the next entry of the catalog, while others may be on their way.
pub(crate) fn hold_commit(running: &Running) -> Held {
    loop {
        let next = changes(running).len() + 1;
        let held = Held::up_unless_there(running, &format!("catalog/{next:020}"));
        if let Some(held) = held {
            return held;
        }
    }
}

/// Holds up the outcome of a query.
pub(crate) fn hold_outcome(running: &Running, query: QueryId) -> Held {
    Held::up(running, &format!("queries/{query}/finished"))
}
