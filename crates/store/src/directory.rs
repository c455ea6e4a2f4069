//! Creates in a directory that outlast a power cut.
//!
//! The client of a directory writes beside the name and links what it wrote to it. That is enough for a
//! process that is killed. A machine that loses its power may remember the name and not what is under it:
//! what was acknowledged would be there, and empty, and nothing could take its place. So:
//!
//! ```text
//!   write name#1 ──► sync it ──► link it to its name ──► sync the folder ──► won
//! ```
//!
//! What is synced before it has its name is whole or not there. What was written beside the name is called
//! as the client calls it: to listings it is nothing, and it goes with what interrupted uploads leave
//! (see [`crate::staged`]).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// How often a folder is made before its absence is taken for a failure.
const FOLDERS: u32 = 100;

/// Creates a file that is not there yet, whole, and in its folder for good.
pub(crate) fn create(path: &Path, body: &[u8]) -> io::Result<()> {
    let mut grown = Vec::new();
    let (mut file, staged) = stage(path, &mut grown)?;
    let written = file.write_all(body);
    let written = written.and_then(|()| sync(&file, &staged));
    drop(file);
    let linked = written.and_then(|()| link(&staged, path));
    // It has another name by now, or is of no use.
    let _ = std::fs::remove_file(&staged);
    linked?;
    if let Some(folder) = path.parent() {
        sync_folder(folder)?;
    }
    for folder in &grown {
        sync_folder(folder)?;
    }
    Ok(())
}

/// Sees to it that a file which is there stays there, whoever created it: its folder is synced, and those
/// above, up to the directory of the state.
pub(crate) fn keep(directory: &Path, path: &Path) -> io::Result<()> {
    let above = path.ancestors().skip(1);
    for folder in above.take_while(|folder| folder.starts_with(directory)) {
        sync_folder(folder)?;
    }
    Ok(())
}

/// What a failure means to the rest, which knows the failures of object stores.
pub(crate) fn failure(path: &object_store::path::Path, error: io::Error) -> object_store::Error {
    match error.kind() {
        ErrorKind::AlreadyExists => object_store::Error::AlreadyExists {
            path: path.to_string(),
            source: Box::new(error),
        },
        _ => object_store::Error::Generic {
            store: "directory",
            source: Box::new(error),
        },
    }
}

/// A new file beside a name, and what it is called. Folders that a folder was made in are noted.
fn stage(path: &Path, grown: &mut Vec<PathBuf>) -> io::Result<(File, PathBuf)> {
    let (mut number, mut missing) = (1_u64, 0);
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("#{number}"));
        let staged = PathBuf::from(name);
        let mut options = OpenOptions::new();
        match options.write(true).create_new(true).open(&staged) {
            Ok(file) => return Ok((file, staged)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            // Another process may remove the folder again, as long as nothing is in it.
            Err(error) if error.kind() == ErrorKind::NotFound && missing < FOLDERS => {
                missing += 1;
                make_folder(path.parent().ok_or(error)?, grown)?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Makes a folder, or the topmost one that is missing above it.
fn make_folder(folder: &Path, grown: &mut Vec<PathBuf>) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Ok(()) => {
            grown.extend(folder.parent().map(Path::to_path_buf));
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_folder(folder.parent().ok_or(error)?, grown)
        }
        Err(error) => Err(error),
    }
}

fn sync(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    done("sync", path);
    Ok(())
}

fn link(staged: &Path, path: &Path) -> io::Result<()> {
    std::fs::hard_link(staged, path)?;
    done("link", path);
    Ok(())
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    let synced = File::open(folder).and_then(|opened| sync(&opened, folder));
    match synced {
        // What was in it was removed meanwhile, and it with that; or such a file system has no use for it.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

/// Tells tests what was done, in its order.
#[cfg(test)]
fn done(what: &'static str, path: &Path) {
    tests::DONE.lock().push((what, path.to_path_buf()));
}

#[cfg(not(test))]
fn done(_what: &'static str, _path: &Path) {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use parking_lot::Mutex;
    use prometheus::Registry;

    use super::*;
    use crate::{Created, Key, Limits, StateLocation, StateStore, StoreMetrics};

    /// What was done by all tests of this process.
    pub(super) static DONE: Mutex<Vec<(&'static str, PathBuf)>> = Mutex::new(Vec::new());

    /// What was done below a directory since it was asked last.
    fn done_in(directory: &Path) -> Vec<(&'static str, String)> {
        let mut all = DONE.lock();
        let each = std::mem::take(&mut *all).into_iter();
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            each.partition(|(_, path)| path.starts_with(directory));
        *all = elsewhere;
        let below = |path: &Path| path.strip_prefix(directory).unwrap().display().to_string();
        here.iter()
            .map(|(what, path)| (*what, below(path)))
            .collect()
    }

    fn open(directory: &Path, options: &[(&str, &str)]) -> StateStore {
        let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        let options: BTreeMap<String, String> = options.collect();
        let shown = directory.display().to_string();
        let location = StateLocation::parse(&shown, &options, []).unwrap();
        let metrics = StoreMetrics::register(&Registry::new()).unwrap();
        StateStore::open(&location, Limits::default(), metrics).unwrap()
    }

    fn steps(all: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        all.iter()
            .map(|(what, of)| (*what, of.to_string()))
            .collect()
    }

    #[tokio::test]
    async fn what_is_acknowledged_was_synced_before_it_had_its_name_and_its_folder_after() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(directory.path(), &[]);
        let key = |name: &str| Key::new("queries").child("q").child(name);
        assert_eq!(state.create(&key("a"), b"1").await, Ok(Created::Won));
        let first = [
            ("sync", "queries/q/a#1"),
            ("link", "queries/q/a"),
            ("sync", "queries/q"),
            // Folders were made in these.
            ("sync", ""),
            ("sync", "queries"),
        ];
        assert_eq!(done_in(directory.path()), steps(&first));

        assert_eq!(state.create(&key("b"), b"2").await, Ok(Created::Won));
        let second = [
            ("sync", "queries/q/b#1"),
            ("link", "queries/q/b"),
            ("sync", "queries/q"),
        ];
        assert_eq!(done_in(directory.path()), steps(&second));

        // What somebody else created is told of when it stays, and reads cost nothing.
        let exists = state.create(&key("a"), b"3").await;
        assert!(matches!(exists, Ok(Created::Exists(_))), "{exists:?}");
        let third = [
            ("sync", "queries/q/a#1"),
            ("sync", "queries/q"),
            ("sync", "queries"),
            ("sync", ""),
        ];
        assert_eq!(done_in(directory.path()), steps(&third));
        assert_eq!(state.get(&key("a")).await.unwrap().unwrap(), "1");
        assert_eq!(
            state.list(&Key::new("queries"), None).await.unwrap().len(),
            2
        );
        assert_eq!(done_in(directory.path()), steps(&[]));
        let files = std::fs::read_dir(directory.path().join("queries/q")).unwrap();
        assert_eq!(files.count(), 2, "nothing is left beside them");
    }

    #[tokio::test]
    async fn who_says_so_goes_without() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(directory.path(), &[("sync", "false")]);
        let key = Key::new("x");
        assert_eq!(state.create(&key, b"1").await, Ok(Created::Won));
        assert_eq!(done_in(directory.path()), steps(&[]));
    }
}
