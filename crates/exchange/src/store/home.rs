//! The directory of one process within the exchange directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use paceline_model::OutputId;
use uuid::Uuid;

use crate::error::StoreError;

const PREFIX: &str = "life-";
const LOCK: &str = "lock";
const SCRATCH: &str = "spill";

/// A directory of this process's own, gone when this is dropped. Its lock file is locked for as
/// long as the process lives, however it ends; so others can tell when it is a leftover.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    scratch: PathBuf,
    _lock: File,
}

impl Home {
    /// Makes a directory within `parent`, and removes those there whose process is gone.
    pub(crate) fn take(parent: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(parent).map_err(|e| StoreError::io("create", parent, e))?;
        // Nobody else looks for leftovers while a new directory is not locked yet.
        let gate_path = parent.join(LOCK);
        let gate = File::create(&gate_path).map_err(|e| StoreError::io("create", &gate_path, e))?;
        gate.lock()
            .map_err(|e| StoreError::io("lock", &gate_path, e))?;
        remove_leftovers(parent)?;
        let path = parent.join(format!("{PREFIX}{}", Uuid::new_v4()));
        fs::create_dir(&path).map_err(|e| StoreError::io("create", &path, e))?;
        let lock_path = path.join(LOCK);
        let lock = File::create(&lock_path).map_err(|e| StoreError::io("create", &lock_path, e))?;
        lock.lock()
            .map_err(|e| StoreError::io("lock", &lock_path, e))?;
        let scratch = path.join(SCRATCH);
        fs::create_dir(&scratch).map_err(|e| StoreError::io("create", &scratch, e))?;
        Ok(Home {
            path,
            scratch,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// For files of others in this process that are to go with it.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Where the output lies once it is finished, if it is not in memory.
    pub(crate) fn file(&self, id: &OutputId) -> PathBuf {
        self.path.join(format!(
            "{}-{}-{}-{}.frames",
            id.query, id.stage, id.task, id.attempt
        ))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "exchange directory not removed");
        }
    }
}

fn remove_leftovers(parent: &Path) -> Result<(), StoreError> {
    let entries = fs::read_dir(parent).map_err(|e| StoreError::io("list", parent, e))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) || !is_leftover(&path) {
            continue;
        }
        match fs::remove_dir_all(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "removed what an earlier life left"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot remove what an earlier life left");
            }
        }
    }
    Ok(())
}

fn is_leftover(path: &Path) -> bool {
    match File::open(path.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        // Its process died between two steps of `take`, or half removed it.
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_go_and_living_neighbours_stay() {
        let parent = tempfile::tempdir().unwrap();
        let neighbour = Home::take(parent.path()).unwrap();
        let leftover = parent.path().join("life-of-the-dead");
        fs::create_dir(&leftover).unwrap();
        fs::write(leftover.join(LOCK), "").unwrap();
        fs::write(leftover.join("big.frames"), "data").unwrap();
        fs::create_dir_all(leftover.join("spill/datafusion-x")).unwrap();
        fs::write(leftover.join("spill/datafusion-x/rows"), "data").unwrap();
        fs::write(parent.path().join("not-ours"), "kept").unwrap();

        let home = Home::take(parent.path()).unwrap();
        assert!(!leftover.exists());
        assert!(neighbour.path().exists());
        assert!(parent.path().join("not-ours").exists());

        let path = home.path().to_path_buf();
        fs::write(home.scratch().join("rows"), "data").unwrap();
        assert!(home.scratch().starts_with(&path), "it goes with the rest");
        drop(home);
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Home::take(&file.join("below")).unwrap_err();
        assert!(error.to_string().contains("file/below"), "{error}");
    }
}
