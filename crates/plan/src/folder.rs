//! What lies where queries write: finding files and removing them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

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
        let removed = match directory(location) {
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

    /// Removes the files of a query that a repeat would have replaced.
    ///
    /// # Errors
    /// If something may be left.
    pub async fn remove_named(
        &self,
        location: &str,
        query: QueryId,
    ) -> std::result::Result<usize, QueryError> {
        if !location.ends_with('/') {
            // The one file appears with the end of its task, and is the statement's to replace.
            return Ok(0);
        }
        let start = format!("{query}-");
        let removed = match directory(location) {
            Some(root) => blocking(move || remove_starting(&root, &start)).await,
            None => {
                let others = |name: &str| !name.starts_with(&start);
                self.remove_objects(location, "", others).await
            }
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

/// The directory that a location is, if it is one.
fn directory(location: &str) -> Option<PathBuf> {
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

fn remove_starting(root: &FilePath, start: &str) -> io::Result<usize> {
    let mut removed = 0;
    for entry in entries(root)? {
        if entry.file_name().to_string_lossy().starts_with(start) {
            gone(std::fs::remove_file(entry.path()))?;
            removed += 1;
        }
    }
    Ok(removed)
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
}
