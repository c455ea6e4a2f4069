//! What lies where queries write: finding files and removing them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use datafusion::common::{DataFusionError, Result};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use paceline_model::{QueryError, QueryId, TableId};
use url::Url;

use crate::engine::Engine;
use crate::error::classify;
use crate::write_names::place;

/// The files of managed tables, and of others that queries write.
///
/// Directories of the file system are gone through as such: there, what a killed process had begun to
/// write lies under names that object stores do not show.
#[derive(Debug)]
pub struct Folder<'a> {
    engine: &'a Engine,
}

impl<'a> Folder<'a> {
    /// Looks with the object stores of an engine.
    pub fn new(engine: &'a Engine) -> Self {
        Folder { engine }
    }

    /// Removes what a query wrote aside below a location, but for what is to be kept, and returns how
    /// many files that were.
    ///
    /// # Errors
    /// If something may be left.
    pub async fn remove_below(
        &self,
        location: &str,
        query: QueryId,
        keep: &BTreeSet<String>,
    ) -> std::result::Result<usize, QueryError> {
        let folder = query.to_string();
        let removed = match local(location) {
            Some(root) => {
                let keep = keep.clone();
                blocking(move || remove_files(&root, &folder, &keep)).await
            }
            None => {
                self.remove_objects(location, &folder, |name| keep.contains(name))
                    .await
            }
        };
        removed.map_err(|e| classify(&e))
    }

    /// Removes the files of a query that a repeat would have replaced, and what
    /// [`remove_staged`](Self::remove_staged) does.
    ///
    /// # Errors
    /// If something may be left.
    pub async fn remove_named(
        &self,
        location: &str,
        query: QueryId,
        since: u64,
    ) -> std::result::Result<usize, QueryError> {
        if !location.ends_with('/') {
            // The one file appears with the end of its task, and is the statement's to replace.
            return self.remove_staged(location, query, since).await;
        }
        let start = format!("{query}-");
        let removed = match local(location) {
            Some(root) => {
                let own = move |name: &str| name.starts_with(&start);
                blocking(move || remove_chosen(&root, own, 0)).await
            }
            None => {
                let others = |name: &str| !name.starts_with(&start);
                self.remove_objects(location, "", others).await
            }
        };
        removed.map_err(|e| classify(&e))
    }

    /// Removes what killed processes had begun to write for a query whose files lie where others look: in a
    /// directory it stays beside the names that the files were to have. Where the location is one file,
    /// others may be writing it as well, so only what was written to since `since` goes, in milliseconds
    /// since 1970. Whoever still writes what goes begins again.
    ///
    /// # Errors
    /// If something may be left.
    pub async fn remove_staged(
        &self,
        location: &str,
        query: QueryId,
        since: u64,
    ) -> std::result::Result<usize, QueryError> {
        let Some(path) = local(location) else {
            return Ok(0);
        };
        let removed = if location.ends_with('/') {
            let start = format!("{query}-");
            let own =
                move |name: &str| staged_for(name).is_some_and(|whole| whole.starts_with(&start));
            blocking(move || remove_chosen(&path, own, 0)).await
        } else {
            let (Some(folder), Some(file)) = (path.parent(), path.file_name()) else {
                return Ok(0);
            };
            let (folder, file) = (folder.to_path_buf(), file.to_string_lossy().into_owned());
            let own = move |name: &str| staged_for(name) == Some(file.as_str());
            blocking(move || remove_chosen(&folder, own, since)).await
        };
        removed.map_err(|e| classify(&e))
    }

    /// The queries that have a folder of their own below that of a table, below a location.
    ///
    /// # Errors
    /// If the location cannot be listed.
    pub async fn queries(
        &self,
        location: &Url,
    ) -> std::result::Result<Vec<(TableId, QueryId)>, QueryError> {
        let found = async {
            let (url, root) = place(location.as_str(), "")?;
            let store = self.store(&url)?;
            let mut found = Vec::new();
            for table in folders(&store, &root).await? {
                let Some(id) = last(&table).and_then(|name| name.parse().ok()) else {
                    continue;
                };
                let queries = folders(&store, &table).await?;
                let queries = queries.iter().filter_map(|query| last(query)?.parse().ok());
                found.extend(queries.map(|query| (TableId(id), query)));
            }
            Ok(found)
        };
        found.await.map_err(|e: DataFusionError| classify(&e))
    }

    fn store(
        &self,
        url: &datafusion::execution::object_store::ObjectStoreUrl,
    ) -> Result<Arc<dyn ObjectStore>> {
        self.engine.runtime().object_store(url)
    }

    async fn remove_objects(
        &self,
        location: &str,
        folder: &str,
        keep: impl Fn(&str) -> bool,
    ) -> Result<usize> {
        let (url, root) = place(location, "")?;
        let (_, below) = place(location, folder)?;
        let store = self.store(&url)?;
        let listed: Vec<_> = store.list(Some(&below)).try_collect().await?;
        let mut removed = 0;
        for object in listed {
            let name = object.location.prefix_match(&root).map(Path::from_iter);
            if name.is_none_or(|name| keep(name.as_ref())) {
                continue;
            }
            match store.delete(&object.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => removed += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(removed)
    }
}

async fn folders(store: &Arc<dyn ObjectStore>, of: &Path) -> Result<Vec<Path>> {
    match store.list_with_delimiter(Some(of)).await {
        Ok(listed) => Ok(listed.common_prefixes),
        Err(object_store::Error::NotFound { .. }) => Ok(vec![]),
        Err(error) => Err(error.into()),
    }
}

fn last(path: &Path) -> Option<&str> {
    path.filename()
}

/// Where a location is in the file system, if it is there.
fn local(location: &str) -> Option<PathBuf> {
    let url = Url::parse(location).ok()?;
    (url.scheme() == "file").then(|| url.to_file_path().ok())?
}

async fn blocking(work: impl FnOnce() -> io::Result<usize> + Send + 'static) -> Result<usize> {
    let worked = tokio::task::spawn_blocking(work).await;
    let worked = worked.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))?;
    worked.map_err(DataFusionError::IoError)
}

fn entries(directory: &FilePath) -> io::Result<Vec<std::fs::DirEntry>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        Err(error) => Err(error),
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes the files in `root/folder`, which has no folders, and those of both that are empty then.
fn remove_files(root: &FilePath, folder: &str, keep: &BTreeSet<String>) -> io::Result<usize> {
    let below = root.join(folder);
    let mut removed = 0;
    for entry in entries(&below)? {
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if !keep.contains(&name) {
            gone(std::fs::remove_file(entry.path()))?;
            removed += 1;
        }
    }
    // Where there is something left, they stay.
    let _ = std::fs::remove_dir(&below);
    let _ = std::fs::remove_dir(root);
    Ok(removed)
}

/// Removes the files of a folder that are chosen by their names and were written to since a time.
fn remove_chosen(
    folder: &FilePath,
    chosen: impl Fn(&str) -> bool,
    since: u64,
) -> io::Result<usize> {
    let mut removed = 0;
    for entry in entries(folder)? {
        if chosen(&entry.file_name().to_string_lossy()) && written_since(&entry, since)? {
            gone(std::fs::remove_file(entry.path()))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn written_since(entry: &std::fs::DirEntry, since: u64) -> io::Result<bool> {
    let written = match entry.metadata().and_then(|found| found.modified()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        written => written?,
    };
    let written = written.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(written.as_millis() >= u128::from(since))
}

/// The name that a file is to have once it is whole, if it is none yet, by the rule by which the client of
/// a directory hides it from listings.
fn staged_for(name: &str) -> Option<&str> {
    let (whole, number) = name.split_once('#')?;
    let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineOptions;

    fn touch(path: &FilePath) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"x").unwrap();
    }

    #[tokio::test]
    async fn only_what_a_query_left_beside_its_commit_goes() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("t");
        let query = QueryId::from_slice(&[7; 16]).unwrap();
        let other = QueryId::from_slice(&[8; 16]).unwrap();
        let kept = format!("{query}/1-0-1-0.parquet");
        let stays = [
            root.join(&kept),
            root.join(format!("{other}/1-0-0-0.parquet")),
        ];
        // What a killed process had begun is among them.
        let goes = ["1-0-0-0.parquet", "1-1-0-1.parquet#1"]
            .map(|name| root.join(query.to_string()).join(name));
        stays.iter().chain(&goes).for_each(|path| touch(path));
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let folder = Folder::new(&engine);
        let location = Url::from_directory_path(&root).unwrap();
        let keep = BTreeSet::from([kept]);
        let removed = folder.remove_below(location.as_str(), query, &keep).await;
        assert_eq!(removed.unwrap(), 2);
        assert!(stays.iter().all(|path| path.exists()));
        assert!(goes.iter().all(|path| !path.exists()));
        let nothing = BTreeSet::new();
        let removed = folder
            .remove_below(location.as_str(), other, &nothing)
            .await;
        assert_eq!(removed.unwrap(), 1);
        assert!(
            !root.join(other.to_string()).exists(),
            "empty folders go too"
        );
    }

    #[tokio::test]
    async fn what_was_begun_for_a_query_goes_and_its_files_stay() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let query = QueryId::from_slice(&[7; 16]).unwrap();
        let other = QueryId::from_slice(&[8; 16]).unwrap();
        let stays = [
            format!("{query}-0.csv"),
            format!("{query}-0.csv#x"),
            format!("{query}-0.csv#"),
            format!("{other}-0.csv#1"),
            "own.csv#1".to_string(),
        ];
        let goes = [format!("{query}-0.csv#1"), format!("{query}-12.csv#20")];
        let path = |name: &String| root.join(name);
        stays
            .iter()
            .chain(&goes)
            .for_each(|name| touch(&path(name)));
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let folder = Folder::new(&engine);
        let location = Url::from_directory_path(root).unwrap();
        // Whose these are their names say.
        let removed = folder.remove_staged(location.as_str(), query, u64::MAX);
        assert_eq!(removed.await.unwrap(), 2);
        assert!(stays.iter().all(|name| path(name).exists()));
        assert!(goes.iter().all(|name| !path(name).exists()));
        touch(&path(&goes[0]));
        let removed = folder.remove_named(location.as_str(), query, u64::MAX);
        assert_eq!(removed.await.unwrap(), 4, "if it failed, they go as well");
        assert!(stays[3..].iter().all(|name| path(name).exists()));
    }

    #[tokio::test]
    async fn what_was_begun_for_one_file_goes_if_it_can_be_of_the_query() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let query = QueryId::from_slice(&[7; 16]).unwrap();
        let stays = ["x.csv", "x.csv#old", "y.csv#1", "xx.csv#1"].map(|name| root.join(name));
        let goes = ["x.csv#1", "x.csv#2"].map(|name| root.join(name));
        stays.iter().chain(&goes).for_each(|path| touch(path));
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let folder = Folder::new(&engine);
        let location = Url::from_file_path(root.join("x.csv")).unwrap();
        let written = std::fs::metadata(&goes[0]).unwrap().modified().unwrap();
        let written = written.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let later = written + 3_600_000;
        let removed = folder.remove_staged(location.as_str(), query, later);
        assert_eq!(removed.await.unwrap(), 0, "it was there before the query");
        let removed = folder.remove_named(location.as_str(), query, written);
        assert_eq!(removed.await.unwrap(), 2);
        assert!(stays.iter().all(|path| path.exists()));
        assert!(goes.iter().all(|path| !path.exists()));
        for elsewhere in ["s3://bucket/x.csv", "s3://bucket/x/"] {
            let removed = folder.remove_staged(elsewhere, query, 0);
            assert_eq!(removed.await.unwrap(), 0, "such stores have no such files");
        }
    }
}
