//! The state store: what the rest of Paceline may ask of an object store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{GetResult, GetResultPayload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::time::Instant;

use crate::frame::{self, WriteId};
use crate::location::{Kind, LocationError};
use crate::metrics::StoreMetrics;
use crate::request::{self, Failure, FailureKind, Limits, Operation, Patience};
use crate::scrub::Scrubber;
use crate::{Key, StateLocation, StoreError};

/// How often an object is read at most whose checksum is wrong.
const READS: u32 = 3;

/// A place in an object store where a cluster keeps its state. Cheap to clone.
///
/// Every operation ends within [`Limits::total`], but for those that bring ever more, and creates of what
/// is large; reads, overwrites and deletes are repeated within it when a failure may pass.
/// [`create`](Self::create) has rules of its own.
#[derive(Clone)]
pub struct StateStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) root: ObjectPath,
    pub(crate) limits: Limits,
    pub(crate) metrics: StoreMetrics,
    /// Where it lies in the file system, if it does.
    pub(crate) directory: Option<PathBuf>,
    /// Whether what is created there outlasts a power cut.
    pub(crate) synced: bool,
    shown: String,
    scrubber: Scrubber,
}

impl fmt::Debug for StateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StateStore")
            .field(&self.inner.shown)
            .finish()
    }
}

impl StateStore {
    /// Opens a location. A missing directory is made; nothing else is contacted yet, which is
    /// what [`probe`](crate::probe()) is for. Each opening of `memory:///` is a store of its own.
    ///
    /// # Errors
    /// [`LocationError`] if the client cannot be made or the directory cannot.
    pub fn open(
        location: &StateLocation,
        limits: Limits,
        metrics: StoreMetrics,
    ) -> Result<Self, LocationError> {
        Ok(StateStore {
            inner: Arc::new(Inner {
                objects: crate::connect::connect(location, &limits)?,
                root: location.root.clone(),
                limits,
                metrics,
                directory: match &location.kind {
                    Kind::Directory(path) => Some(path.clone()),
                    Kind::Memory | Kind::S3 | Kind::Gcs | Kind::Azure => None,
                },
                synced: location.is_synced(),
                shown: location.shown.clone(),
                scrubber: location.scrubber.clone(),
            }),
        })
    }

    /// Keeps state at the top of a given store, which errors call `shown`. For stores that have no
    /// location: a memory that several schedulers of one process share, and tests.
    pub fn over(
        objects: Arc<dyn ObjectStore>,
        shown: impl Into<String>,
        limits: Limits,
        metrics: StoreMetrics,
    ) -> Self {
        StateStore {
            inner: Arc::new(Inner {
                objects,
                root: ObjectPath::default(),
                limits,
                metrics,
                directory: None,
                synced: false,
                shown: shown.into(),
                scrubber: Scrubber::default(),
            }),
        }
    }

    /// The location, as errors show it.
    pub fn location(&self) -> &str {
        &self.inner.shown
    }

    /// Reads an object; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot say, or the object is not Paceline's.
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let whole = self.read_whole(key, self.deadline()).await?;
        Ok(whole.map(|(_, payload)| payload))
    }

    /// Writes an object over whatever is there. For beacons alone: of two writes nobody can say
    /// which one stays.
    ///
    /// # Errors
    /// [`StoreError`] if the store did not confirm it.
    pub async fn put(&self, key: &Key, payload: &[u8]) -> Result<(), StoreError> {
        let path = key.under(&self.inner.root);
        let body = frame::seal(WriteId::random(), payload);
        let call = |_| async {
            let payload = PutPayload::from_bytes(body.clone());
            self.inner.objects.put(&path, payload).await.map(|_| ())
        };
        self.repeat(Operation::Put, key, self.deadline(), call)
            .await
            .map(|_| ())
    }

    /// Removes an object; one that is not there is no error.
    ///
    /// # Errors
    /// [`StoreError`] if the store did not confirm it.
    pub async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let path = key.under(&self.inner.root);
        let call = |_| self.inner.objects.delete(&path);
        self.repeat(Operation::Delete, key, self.deadline(), call)
            .await
            .map(|_| ())
    }

    /// Does something to the directory that the state lies in, given its path. None if it lies in none.
    pub(crate) async fn in_directory<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Option<io::Result<T>> {
        let directory = self.inner.directory.clone()?;
        let worked = tokio::task::spawn_blocking(move || work(&directory)).await;
        Some(worked.unwrap_or_else(|join| Err(io::Error::other(join))))
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.inner.limits.total
    }

    /// One request, measured and bounded.
    pub(crate) async fn request<T>(
        &self,
        operation: Operation,
        patience: &Patience,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Failure> {
        let Inner {
            scrubber, metrics, ..
        } = &*self.inner;
        request::run(operation, patience, scrubber, metrics, call).await
    }

    pub(crate) fn patience(&self, deadline: Instant) -> Patience {
        Patience::new(self.inner.limits.request, deadline)
    }

    /// Which write made an object, and its payload. What is damaged is read again: it may have become so
    /// on its way.
    pub(crate) async fn read_whole(
        &self,
        key: &Key,
        deadline: Instant,
    ) -> Result<Option<(WriteId, Bytes)>, StoreError> {
        let mut reads = 0;
        loop {
            let Some(body) = self.read(key, deadline).await? else {
                return Ok(None);
            };
            reads += 1;
            match self.unframe(key, &body) {
                Ok(whole) => return Ok(Some(whole)),
                Err(error) if reads == READS => return Err(error),
                Err(_) => {}
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "before what was damaged is read again"
            )]
            tokio::time::sleep(request::backoff(reads)).await;
        }
    }

    /// The whole body of an object, write id and all.
    async fn read(&self, key: &Key, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        let path = &key.under(&self.inner.root);
        let call = |patience: Arc<Patience>| async move {
            let found = self.inner.objects.get(path).await?;
            whole(found, &patience).await
        };
        self.repeat(Operation::Get, key, deadline, call).await
    }

    /// Repeats a request that may be repeated, until it succeeds, is refused, or time is up.
    /// `None` means that the object does not exist.
    pub(crate) async fn repeat<T, F>(
        &self,
        operation: Operation,
        key: &Key,
        deadline: Instant,
        mut call: impl FnMut(Arc<Patience>) -> F,
    ) -> Result<Option<T>, StoreError>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut retry = 0;
        loop {
            let patience = Arc::new(self.patience(deadline));
            let asked = call(Arc::clone(&patience));
            let failure = match self.request(operation, &patience, asked).await {
                Ok(value) => return Ok(Some(value)),
                Err(failure) => failure,
            };
            match failure.kind {
                FailureKind::Missing => return Ok(None),
                FailureKind::Refused => return Err(self.refused(operation, key, failure.reason)),
                FailureKind::Taken | FailureKind::Passing | FailureKind::TimedOut => {}
            }
            retry += 1;
            let wait = request::backoff(retry);
            if Instant::now() + wait >= deadline {
                return Err(self.unavailable(operation, key, failure.reason));
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "before a request that failed is repeated"
            )]
            tokio::time::sleep(wait).await;
        }
    }

    pub(crate) fn unframe(&self, key: &Key, body: &Bytes) -> Result<(WriteId, Bytes), StoreError> {
        frame::open(body).map_err(|error| self.corrupt(key, error.to_string()))
    }

    pub(crate) fn unavailable(
        &self,
        operation: Operation,
        key: &Key,
        reason: String,
    ) -> StoreError {
        StoreError::Unavailable {
            location: self.inner.shown.clone(),
            operation: operation.as_str(),
            key: key.to_string(),
            reason,
        }
    }

    pub(crate) fn refused(&self, operation: Operation, key: &Key, reason: String) -> StoreError {
        StoreError::Refused {
            location: self.inner.shown.clone(),
            operation: operation.as_str(),
            key: key.to_string(),
            reason,
        }
    }

    pub(crate) fn unknown(&self, key: &Key, reason: String) -> StoreError {
        StoreError::Unknown {
            location: self.inner.shown.clone(),
            key: key.to_string(),
            reason,
        }
    }

    pub(crate) fn corrupt(&self, key: &Key, reason: String) -> StoreError {
        StoreError::Corrupt {
            location: self.inner.shown.clone(),
            key: key.to_string(),
            reason,
        }
    }

    pub(crate) fn newer(&self, key: &Key, what: String) -> StoreError {
        StoreError::Newer {
            location: self.inner.shown.clone(),
            key: key.to_string(),
            what,
        }
    }
}

/// An object, whatever its size. It is given up when no more of it comes.
async fn whole(found: GetResult, patience: &Patience) -> object_store::Result<Bytes> {
    if !matches!(found.payload, GetResultPayload::Stream(_)) {
        // A file is read at once.
        let size = found.range.end.saturating_sub(found.range.start);
        patience.renew_for(usize::try_from(size).unwrap_or(usize::MAX));
        return found.bytes().await;
    }
    let mut pieces = found.into_stream();
    let mut whole = Bytes::new();
    let mut joined = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        patience.renew();
        if whole.is_empty() && joined.is_empty() {
            whole = piece;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut whole));
            joined.extend_from_slice(&piece);
        }
    }
    Ok(match joined.is_empty() {
        true => whole,
        false => Bytes::from(joined),
    })
}
