//! A store that fails as real ones do.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What happens to one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is wrong with this one.
    None,
    /// It is slow, and succeeds.
    Slow(Duration),
    /// It fails before it reaches the store.
    FailBefore,
    /// It is applied, and the answer is lost.
    ApplyThenFail,
    /// The answer never comes, and it is not applied.
    Hang,
    /// The answer never comes; it is applied once [`FaultyStore::land`] is called.
    ApplyLate,
    /// "Somebody writes it just now", though nothing lands.
    Conflict,
    /// Permission denied.
    Denied,
}

/// Injects the faults of a script, one for each write, and for each read whether it fails.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    writes: Mutex<VecDeque<Fault>>,
    reads: Mutex<VecDeque<bool>>,
    fired: AtomicUsize,
    sent: AtomicUsize,
    late: Mutex<Vec<JoinHandle<()>>>,
    landing: Arc<Notify>,
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        FaultyStore {
            inner,
            writes: Mutex::default(),
            reads: Mutex::default(),
            fired: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            late: Mutex::default(),
            landing: Arc::new(Notify::new()),
        }
    }

    /// What is to happen to the next writes.
    pub(crate) fn on_writes(&self, faults: impl IntoIterator<Item = Fault>) {
        self.writes.lock().unwrap().extend(faults);
    }

    /// Whether the next reads are to fail.
    pub(crate) fn on_reads(&self, fail: impl IntoIterator<Item = bool>) {
        self.reads.lock().unwrap().extend(fail);
    }

    /// How many faults have fired.
    pub(crate) fn fired(&self) -> usize {
        self.fired.load(Ordering::SeqCst)
    }

    /// How many writes were sent.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// Lets every late write arrive, and waits until they have.
    pub(crate) async fn land(&self) -> usize {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        let count = late.len();
        for write in late {
            self.landing.notify_one();
            write.await.unwrap();
        }
        count
    }

    fn arrive_late(&self, location: Path, payload: PutPayload, opts: PutOptions) {
        let (inner, landing) = (Arc::clone(&self.inner), Arc::clone(&self.landing));
        let write = tokio::spawn(async move {
            landing.notified().await;
            // Nobody waits for its answer any more.
            let _ = inner.put_opts(&location, payload, opts).await;
        });
        self.late.lock().unwrap().push(write);
    }
}

fn failure(what: &'static str) -> Error {
    Error::Generic {
        store: "Faulty",
        source: what.into(),
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.sent.fetch_add(1, Ordering::SeqCst);
        let fault = self.writes.lock().unwrap().pop_front();
        let fault = fault.unwrap_or(Fault::None);
        if fault != Fault::None {
            self.fired.fetch_add(1, Ordering::SeqCst);
        }
        match fault {
            Fault::None => self.inner.put_opts(location, payload, opts).await,
            Fault::Slow(by) => {
                #[expect(clippy::disallowed_methods, reason = "the fault is that it is slow")]
                tokio::time::sleep(by).await;
                self.inner.put_opts(location, payload, opts).await
            }
            Fault::FailBefore => Err(failure("connection refused")),
            Fault::ApplyThenFail => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(failure("connection reset"))
            }
            Fault::Hang => std::future::pending().await,
            Fault::ApplyLate => {
                self.arrive_late(location.clone(), payload, opts);
                std::future::pending().await
            }
            Fault::Conflict => Err(Error::AlreadyExists {
                path: location.to_string(),
                source: "409 ConditionalRequestConflict".into(),
            }),
            Fault::Denied => Err(Error::PermissionDenied {
                path: location.to_string(),
                source: "403 AccessDenied".into(),
            }),
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fail = self.reads.lock().unwrap().pop_front();
        if fail.unwrap_or(false) {
            self.fired.fetch_add(1, Ordering::SeqCst);
            return Err(failure("connection reset while reading"));
        }
        self.inner.get_opts(location, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
