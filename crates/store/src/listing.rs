//! What is there: keys below a prefix, and the folders right below it.

use std::io;
use std::path::Path;

use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore};
use tokio::time::Instant;

use crate::request::{FailureKind, Operation, Patience, backoff};
use crate::{Key, StateStore, StoreError, staged};

/// As many names as stores show at once. That so many are in their order by chance cannot be.
const PAGE: usize = 1000;

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
        let root = &self.inner.root;
        let found = self.listed(prefix, after).await?;
        let mut objects: Vec<Found> = found
            .iter()
            .filter_map(|object| {
                let key = Key::relative(&object.location, root)?;
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

    /// What a listing shows, however long it is: it is given up when it stands still. One that broke off
    /// goes on where it was, if it can.
    async fn listed(
        &self,
        prefix: &Key,
        after: Option<&Key>,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        let root = &self.inner.root;
        let mut seen: Vec<ObjectMeta> = Vec::new();
        let (mut furthest, mut retry) = (0, 0);
        let mut deadline = self.deadline();
        loop {
            let mut offset = self.resumes(&seen);
            if offset.is_none() {
                seen.clear();
                offset = after.map(|key| key.under(root));
            }
            let patience = self.patience(deadline);
            let more = self.list_on(prefix, offset.as_ref(), &patience, &mut seen);
            let failure = match self.request(Operation::List, &patience, more).await {
                Ok(()) => return Ok(seen),
                Err(failure) => failure,
            };
            if failure.kind == FailureKind::Refused {
                return Err(self.refused(Operation::List, prefix, failure.reason));
            }
            if seen.len() > furthest {
                (furthest, retry) = (seen.len(), 0);
                deadline = self.deadline();
            }
            retry += 1;
            let wait = backoff(retry);
            if Instant::now() + wait >= deadline {
                return Err(self.unavailable(Operation::List, prefix, failure.reason));
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "before a listing that broke off goes on"
            )]
            tokio::time::sleep(wait).await;
        }
    }

    async fn list_on(
        &self,
        prefix: &Key,
        offset: Option<&ObjectPath>,
        patience: &Patience,
        seen: &mut Vec<ObjectMeta>,
    ) -> object_store::Result<()> {
        let folder = prefix.under(&self.inner.root);
        let objects = &self.inner.objects;
        let mut listed = match offset {
            Some(offset) => objects.list_with_offset(Some(&folder), offset),
            None => objects.list(Some(&folder)),
        };
        while let Some(object) = listed.try_next().await? {
            patience.renew();
            seen.push(object);
        }
        Ok(())
    }

    /// Behind which name a listing may go on that has shown these. None if it has to begin again: it is
    /// short, or of a store that lists in no order, as directories are.
    fn resumes(&self, seen: &[ObjectMeta]) -> Option<ObjectPath> {
        let in_order = || seen.is_sorted_by(|a, b| a.location < b.location);
        if seen.len() < PAGE || self.inner.directory.is_some() || !in_order() {
            return None;
        }
        seen.last().map(|object| object.location.clone())
    }

    /// The folders right below a prefix, ascending, each once: those that hold an object, however
    /// deep. As with [`list`](Self::list) it may lag behind creates.
    ///
    /// # Errors
    /// [`StoreError`] if the store does not answer with a whole listing.
    pub async fn folders(&self, prefix: &Key) -> Result<Vec<Key>, StoreError> {
        let inner = &*self.inner;
        let folder = prefix.under(&inner.root);
        let call = |_| inner.objects.list_with_delimiter(Some(&folder));
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
