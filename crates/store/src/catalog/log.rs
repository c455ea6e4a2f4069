//! The log of catalog changes in the store, and this process's view of it.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use paceline_model::{CatalogVersion, SchedulerId};
use parking_lot::RwLock;
use tokio::sync::{Mutex, MutexGuard};

use super::entry::{self, Entry};
use super::{CatalogChange, CatalogError, CatalogSnapshot, CatalogStatement, ChangeName};
use crate::{Created, Key, StateStore, StoreError};

/// How many entries are read at once when many are missing.
pub(super) const READERS: usize = 16;
/// How often an append is tried when others are always faster. Each try that fails is a change of
/// somebody else that succeeded.
pub(super) const TRIES: u32 = 64;

/// The catalog log of a cluster. Share one per process behind an `Arc`.
///
/// What [`current`](Self::current) returns is in the store, whole, and every other process that
/// reads the log will come to the same. It may be old: peers tell of new versions
/// ([`refresh_to`](Self::refresh_to)), and who may have missed that looks for itself
/// ([`refresh_tail`](Self::refresh_tail)).
#[derive(Debug)]
pub struct CatalogLog {
    store: StateStore,
    folder: Key,
    current: RwLock<CatalogSnapshot>,
    /// Held while the log is read on or appended to, so that this process does so once at a time.
    /// Held across awaits, hence not a blocking mutex.
    tail: Mutex<()>,
}

impl CatalogLog {
    /// Reads the whole log, up to the first version that is not there: versions have no gaps, and a listing
    /// of all of them would take the longer the more there are.
    ///
    /// # Errors
    /// [`CatalogError`] if the store cannot be read, a version is missing, or a change is not
    /// understood.
    pub async fn open(store: StateStore) -> Result<Self, CatalogError> {
        let log = CatalogLog {
            store,
            folder: Key::new("catalog"),
            current: RwLock::default(),
            tail: Mutex::new(()),
        };
        {
            let tail = log.tail().await;
            let read = log.fold_on(log.current()).await?;
            log.advance(&tail, read);
        }
        // Nothing lies behind the end of the log, or the end is a hole in it.
        let end = log.key(log.current().version());
        let behind = log.store.list(&log.folder, Some(&end)).await?;
        if let Some(newest) = behind.iter().filter_map(Key::number).max() {
            log.refresh_to(CatalogVersion(newest)).await?;
        }
        Ok(log)
    }

    /// The newest version that this process knows. Asks the store for nothing.
    pub fn current(&self) -> CatalogSnapshot {
        self.current.read().clone()
    }

    /// Reads on until `version` is known, which a peer says exists.
    ///
    /// # Errors
    /// [`CatalogError::Missing`] if it does not, or any failure to read it.
    pub async fn refresh_to(
        &self,
        version: CatalogVersion,
    ) -> Result<CatalogSnapshot, CatalogError> {
        if self.current.read().version() < version {
            let tail = self.tail().await;
            let current = self.current();
            if current.version() < version {
                let read = self.fold(current, version).await?;
                self.advance(&tail, read);
            }
        }
        Ok(self.current())
    }

    /// Reads on as far as the log goes: one request if nothing is new.
    ///
    /// # Errors
    /// [`CatalogError`] if the store cannot say whether there is more, or it is not understood.
    pub async fn refresh_tail(&self) -> Result<CatalogSnapshot, CatalogError> {
        self.read_on(&self.tail().await).await
    }

    /// Waits for one's turn to read on or to append.
    pub(super) async fn tail(&self) -> MutexGuard<'_, ()> {
        self.tail.lock().await
    }

    pub(super) async fn read_on(
        &self,
        tail: &MutexGuard<'_, ()>,
    ) -> Result<CatalogSnapshot, CatalogError> {
        loop {
            let current = self.current();
            let next = current.version().next();
            match self.store.get(&self.key(next)).await? {
                None => return Ok(current),
                Some(payload) => {
                    let entry = self.decode(next, &payload)?;
                    self.advance(tail, current.apply(&entry));
                }
            }
        }
    }

    /// Carries out a statement on behalf of scheduler `by`, and returns the version that shows it.
    ///
    /// The statement is resolved against the newest version; if another process makes that version
    /// first, its change is taken in and the statement is resolved again. A statement that changes
    /// nothing (`IF EXISTS`) returns a version at which that was so.
    ///
    /// # Errors
    /// [`CatalogError`] if the statement cannot be carried out. After a [`StoreError::Unknown`]
    /// the change may be in the log, or appear there later.
    ///
    /// # Cancel safety
    /// Dropped half way, the change may or may not be made, as with `Unknown`.
    pub async fn append(
        &self,
        statement: &CatalogStatement,
        by: &SchedulerId,
    ) -> Result<CatalogVersion, CatalogError> {
        self.append_once(statement, by, None).await
    }

    /// Carries out a statement as [`append`](Self::append) does, unless one was carried out under the
    /// same name; [`CatalogSnapshot::carried_out`] tells which that was. With the name goes a version up to
    /// which none was.
    ///
    /// # Errors
    /// As those of [`append`](Self::append); and [`CatalogError::Forgotten`] if names of changes after that
    /// version are not remembered any more.
    pub async fn append_once(
        &self,
        statement: &CatalogStatement,
        by: &SchedulerId,
        name: Option<(&ChangeName, CatalogVersion)>,
    ) -> Result<CatalogVersion, CatalogError> {
        let since = name.map(|(_, since)| since);
        let name = name.map(|(name, _)| name);
        // What this process knows may be old, and a refusal must not rest on what is old.
        let mut fresh = false;
        let mut tries = 0;
        let tail = self.tail().await;
        while tries < TRIES {
            let current = self.current();
            if name.is_some_and(|name| current.carried_out(name.query).is_some()) {
                return Ok(current.version());
            }
            if since.is_some_and(|since| !current.remembers_since(since)) {
                return Err(CatalogError::Forgotten);
            }
            let change = match statement.resolve(&current) {
                Ok(Some(change)) => change,
                Ok(None) if fresh => match name {
                    None => return Ok(current.version()),
                    // That there was nothing to do is what a repeat is told as well.
                    Some(name) => CatalogChange::Abandon {
                        query: name.query,
                        kept: false,
                    },
                },
                Err(error) if fresh => return Err(error),
                Ok(None) | Err(_) => {
                    self.read_on(&tail).await?;
                    fresh = true;
                    continue;
                }
            };
            tries += 1;
            let tried = self.try_append(&tail, &current, change, by, name);
            if let Some(version) = tried.await? {
                return Ok(version);
            }
        }
        Err(CatalogError::Contended { tries })
    }

    /// Tries to make the version after `current`; `None` if somebody else did.
    pub(super) async fn try_append(
        &self,
        tail: &MutexGuard<'_, ()>,
        current: &CatalogSnapshot,
        change: CatalogChange,
        by: &SchedulerId,
        name: Option<&ChangeName>,
    ) -> Result<Option<CatalogVersion>, CatalogError> {
        let version = current.version().next();
        let body = entry::encode(&change, by, name);
        match self.store.create(&self.key(version), &body).await? {
            Created::Won => {
                let ours = Entry {
                    change: Some(change),
                    name: name.cloned(),
                };
                self.advance(tail, current.clone().apply(&ours));
                Ok(Some(version))
            }
            Created::Exists(payload) => {
                let theirs = self.decode(version, &payload)?;
                self.advance(tail, current.clone().apply(&theirs));
                Ok(None)
            }
        }
    }

    /// Makes a snapshot the current one. Whoever holds the tail is the only one to do so, so
    /// versions never go back.
    fn advance(&self, _tail: &MutexGuard<'_, ()>, to: CatalogSnapshot) {
        let version = i64::try_from(to.version().0).unwrap_or(i64::MAX);
        self.store.inner.metrics.catalog_version.set(version);
        *self.current.write() = to;
    }

    /// Applies to `from` every change after it, up to `to`.
    async fn fold(
        &self,
        from: CatalogSnapshot,
        to: CatalogVersion,
    ) -> Result<CatalogSnapshot, CatalogError> {
        stream::iter(from.version().0 + 1..=to.0)
            .map(|version| self.read(CatalogVersion(version)))
            .buffered(READERS)
            .try_fold(
                from,
                |snapshot, entry| async move { Ok(snapshot.apply(&entry)) },
            )
            .await
    }

    /// Applies to `from` every change after it, as far as the log goes.
    async fn fold_on(&self, from: CatalogSnapshot) -> Result<CatalogSnapshot, CatalogError> {
        let mut entries = stream::iter(from.version().0 + 1..)
            .map(|version| self.find(CatalogVersion(version)))
            .buffered(READERS);
        let mut read = from;
        while let Some(Some(entry)) = entries.try_next().await? {
            read = read.apply(&entry);
        }
        Ok(read)
    }

    async fn find(&self, version: CatalogVersion) -> Result<Option<Entry>, StoreError> {
        match self.store.get(&self.key(version)).await? {
            Some(payload) => self.decode(version, &payload).map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn read(&self, version: CatalogVersion) -> Result<Entry, CatalogError> {
        match self.find(version).await? {
            Some(entry) => Ok(entry),
            None => Err(CatalogError::Missing {
                location: self.store.location().to_string(),
                version,
            }),
        }
    }

    fn decode(&self, version: CatalogVersion, payload: &Bytes) -> Result<Entry, StoreError> {
        entry::decode(&self.store, &self.key(version), payload)
    }

    fn key(&self, version: CatalogVersion) -> Key {
        self.folder.numbered(version.0)
    }
}
