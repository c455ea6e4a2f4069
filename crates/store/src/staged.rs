//! What interrupted uploads leave in a directory.
//!
//! The client of a directory writes beside the name that an object is to have (`name#1`, or the next number
//! that is free) and moves it there when it is whole. A process that is killed in between leaves that file.
//! No listing shows it and no request can name it, so it is looked for in the directory itself; as is a
//! folder that was made for it, and that holds nothing else.
//!
//! Such files are no part of the state. One that nobody wrote to for longer than any process can live is
//! nobody's. Should its upload go on all the same, that fails as a whole, and is made again.

use std::fs::DirEntry;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Removes files that interrupted uploads left below a directory and that were written last before a
/// time, in milliseconds since 1970 by the clock of the file system; and folders in which there is nothing
/// since then. Returns how many files that were.
pub(crate) fn remove(directory: &Path, before: i64) -> io::Result<usize> {
    let mut removed = 0;
    for entry in entries(directory)? {
        let (path, kind) = (entry.path(), entry.file_type()?);
        // Whatever is removed from a folder makes it young.
        let is_old = is_older(&path, before)?;
        if kind.is_dir() {
            removed += remove(&path, before)?;
            if is_old {
                // Where there is anything in it, it stays.
                let _ = std::fs::remove_dir(&path);
            }
        } else if is_old && is_staged(&entry) {
            std::fs::remove_file(&path).or_else(unless_gone)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether there is an object in a folder, however deep.
pub(crate) fn holds_objects(folder: &Path) -> io::Result<bool> {
    for entry in entries(folder)? {
        let holds = match entry.file_type()?.is_dir() {
            true => holds_objects(&entry.path())?,
            false => !is_staged(&entry),
        };
        if holds {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a file is no object to the client of a directory, by the rule by which that lists.
fn is_staged(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    let number = name.split_once('#').map(|(_, number)| number);
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        // Another process removed it; or it is none of the state, as what a file system keeps for itself.
        Err(error) if is_gone(&error) || error.kind() == ErrorKind::PermissionDenied => Ok(vec![]),
        Err(error) => Err(error),
    }
}

fn is_older(path: &Path, before: i64) -> io::Result<bool> {
    let changed = std::fs::symlink_metadata(path).and_then(|found| found.modified());
    let changed = match changed {
        Err(error) if is_gone(&error) => return Ok(false),
        changed => changed?,
    };
    let changed = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(i64::try_from(changed.as_millis()).unwrap_or(i64::MAX) < before)
}

fn unless_gone(error: io::Error) -> io::Result<()> {
    if is_gone(&error) { Ok(()) } else { Err(error) }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}
