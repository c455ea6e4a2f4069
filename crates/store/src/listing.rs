//! What is there: keys below a prefix, and the folders right below it.

use std::io;
use std::path::Path;

use futures::TryStreamExt;

use crate::request::Operation;
use crate::{Key, StateStore, StoreError, staged};

/// An object that a listing shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub(crate) key: Key,
    /// When it was written last, in milliseconds of the store's own clock.
    pub(crate) changed: i64,
}

impl Found {
    pub(crate) fn is_older(&self, than: i64) -> bool {
        self.changed < than
    }
}

impl StateStore {
    /// The keys below a prefix, ascending, each once; with `after`, only those above it.
    ///
    /// A listing may lag behind creates. Whoever needs the newest goes on with
    /// [`get`](Self::get) from where the listing ends.
    ///
    /// # Errors
    /// [`StoreError`] if the store does not answer with a whole listing.
    pub async fn list(&self, prefix: &Key, after: Option<&Key>) -> Result<Vec<Key>, StoreError> {
        let found = self.found(prefix, after).await?;
        Ok(found.into_iter().map(|found| found.key).collect())
    }

    /// The same, and when each was written.
    pub(crate) async fn found(
        &self,
        prefix: &Key,
        after: Option<&Key>,
    ) -> Result<Vec<Found>, StoreError> {
        let inner = &*self.inner;
        let folder = prefix.under(&inner.root);
        let offset = after.map(|key| key.under(&inner.root));
        let call = || async {
            let found = match &offset {
                Some(offset) => inner.objects.list_with_offset(Some(&folder), offset),
                None => inner.objects.list(Some(&folder)),
            };
            found.try_collect::<Vec<_>>().await
        };
        let found = self
            .repeat(Operation::List, prefix, self.deadline(), call)
            .await?
            .unwrap_or_default();
        let mut objects: Vec<Found> = found
            .iter()
            .filter_map(|object| {
                let key = Key::relative(&object.location, &inner.root)?;
                let changed = object.last_modified.timestamp_millis();
                Some(Found { key, changed })
            })
            .filter(|found| after.is_none_or(|after| found.key > *after))
            .collect();
        // Neither order nor uniqueness holds on every store.
        objects.sort();
        objects.dedup_by(|a, b| a.key == b.key);
        Ok(objects)
    }

    /// The folders right below a prefix, ascending, each once: those that hold an object, however
    /// deep. As with [`list`](Self::list) it may lag behind creates.
    ///
    /// # Errors
    /// [`StoreError`] if the store does not answer with a whole listing.
    pub async fn folders(&self, prefix: &Key) -> Result<Vec<Key>, StoreError> {
        let inner = &*self.inner;
        let folder = prefix.under(&inner.root);
        let call = || inner.objects.list_with_delimiter(Some(&folder));
        let found = self
            .repeat(Operation::List, prefix, self.deadline(), call)
            .await?;
        let prefixes = found.map(|found| found.common_prefixes);
        let mut keys: Vec<Key> = prefixes
            .unwrap_or_default()
            .iter()
            .filter_map(|path| Key::relative(path, &inner.root))
            .collect();
        keys.sort();
        keys.dedup();
        self.with_objects(prefix, keys).await
    }

    /// Of folders, those that hold an object: in a directory one may hold what an interrupted upload
    /// left, and nothing else.
    async fn with_objects(
        &self,
        prefix: &Key,
        mut folders: Vec<Key>,
    ) -> Result<Vec<Key>, StoreError> {
        let looked = folders.clone();
        let look = move |directory: &Path| {
            let held = looked
                .iter()
                .map(|key| staged::holds_objects(&directory.join(key.to_string())));
            held.collect::<io::Result<Vec<bool>>>()
        };
        let Some(held) = self.in_directory(look).await else {
            return Ok(folders);
        };
        let held =
            held.map_err(|error| self.unavailable(Operation::List, prefix, error.to_string()))?;
        let mut held = held.into_iter();
        folders.retain(|_| held.next() == Some(true));
        Ok(folders)
    }
}
