//! A store that fails as real ones do.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

type Listed = BoxStream<'static, Result<ObjectMeta>>;

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

/// What is wrong with one listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    /// It breaks off.
    Fails,
    /// It lags behind: the last name is not in it yet.
    Lags,
    /// It names everything twice, and in no order.
    Repeats,
    /// It breaks off after so many names.
    BreaksOff(usize),
    /// Before each ten names it takes that long.
    Trickles(Duration),
}

/// Injects the faults of a script, one for each write, listing and removal, and for each read whether it
/// fails.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    writes: Mutex<VecDeque<Fault>>,
    reads: Mutex<VecDeque<bool>>,
    garbled: AtomicUsize,
    /// How many bytes come through in a millisecond; 0 if there is no limit.
    throughput: AtomicUsize,
    listings: Mutex<VecDeque<Listing>>,
    shown: Arc<AtomicUsize>,
    removals: Mutex<VecDeque<Fault>>,
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
            garbled: AtomicUsize::new(0),
            throughput: AtomicUsize::new(0),
            listings: Mutex::default(),
            shown: Arc::default(),
            removals: Mutex::default(),
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

    /// The next reads bring a byte that is not the one that was written.
    pub(crate) fn garble_reads(&self, count: usize) {
        self.garbled.store(count, Ordering::SeqCst);
    }

    /// From now on no more bytes than these are written, or read, in a second.
    pub(crate) fn throttle(&self, bytes_per_second: usize) {
        self.throughput
            .store(bytes_per_second / 1000, Ordering::SeqCst);
    }

    /// How long so many bytes take.
    fn takes(&self, bytes: usize) -> Duration {
        let throughput = self.throughput.load(Ordering::SeqCst);
        let millis = bytes.checked_div(throughput).unwrap_or(0);
        Duration::from_millis(millis as u64)
    }

    /// The same object, piece by piece.
    async fn trickle(&self, got: GetResult) -> Result<GetResult> {
        const PIECE: usize = 256 << 10;
        if self.throughput.load(Ordering::SeqCst) == 0 {
            return Ok(got);
        }
        let (meta, range) = (got.meta.clone(), got.range.clone());
        let attributes = got.attributes.clone();
        let bytes = got.bytes().await?;
        let pause = self.takes(PIECE);
        let starts = (0..bytes.len()).step_by(PIECE);
        let pieces = starts.map(move |at| bytes.slice(at..bytes.len().min(at + PIECE)));
        let pieces = stream::iter(pieces).then(move |piece| async move {
            #[expect(clippy::disallowed_methods, reason = "the fault is that it is slow")]
            tokio::time::sleep(pause).await;
            Ok(piece)
        });
        Ok(GetResult {
            payload: GetResultPayload::Stream(pieces.boxed()),
            meta,
            range,
            attributes,
        })
    }

    /// What is wrong with the next listings.
    pub(crate) fn on_listings(&self, faults: impl IntoIterator<Item = Listing>) {
        self.listings.lock().unwrap().extend(faults);
    }

    /// What is to happen to the next removals: they may fail, before or after they are applied.
    pub(crate) fn on_removals(&self, faults: impl IntoIterator<Item = Fault>) {
        self.removals.lock().unwrap().extend(faults);
    }

    fn listing(&self) -> Option<Listing> {
        let fault = self.listings.lock().unwrap().pop_front();
        if fault.is_some() {
            self.fired.fetch_add(1, Ordering::SeqCst);
        }
        fault
    }

    /// How many names listings have shown.
    pub(crate) fn shown(&self) -> usize {
        self.shown.load(Ordering::SeqCst)
    }

    /// A listing with what is wrong with it.
    fn distorted(&self, listed: Listed) -> Listed {
        let shown = Arc::clone(&self.shown);
        let count = move |_: &ObjectMeta| {
            shown.fetch_add(1, Ordering::SeqCst);
        };
        let listed = listed.inspect_ok(count);
        let fault = match self.listing() {
            None => return listed.boxed(),
            Some(Listing::BreaksOff(after)) => {
                let broken = stream::once(async { Err(failure("connection reset")) });
                return listed.take(after).chain(broken).boxed();
            }
            Some(Listing::Trickles(pause)) => {
                let pages = listed.chunks(10).then(move |page| async move {
                    #[expect(clippy::disallowed_methods, reason = "the fault is that it is slow")]
                    tokio::time::sleep(pause).await;
                    stream::iter(page)
                });
                return pages.flatten().boxed();
            }
            Some(fault) => fault,
        };
        let distorted = async move {
            let mut all: Vec<ObjectMeta> = listed.try_collect().await?;
            all.sort_by(|a, b| a.location.cmp(&b.location));
            distort(&mut all, fault);
            let broken = (fault == Listing::Fails).then(|| Err(failure("connection reset")));
            Ok::<_, Error>(stream::iter(all.into_iter().map(Ok).chain(broken)))
        };
        stream::once(distorted).try_flatten().boxed()
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

/// The same object with its last byte changed.
async fn garble(got: GetResult) -> Result<GetResult> {
    let (meta, range) = (got.meta.clone(), got.range.clone());
    let attributes = got.attributes.clone();
    let mut bytes = got.bytes().await?.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 0x40;
    }
    let whole = stream::once(async move { Ok(Bytes::from(bytes)) });
    Ok(GetResult {
        payload: GetResultPayload::Stream(whole.boxed()),
        meta,
        range,
        attributes,
    })
}

/// A listing that is not what it should be, but does not fail.
fn distort<T: Clone>(all: &mut Vec<T>, fault: Listing) {
    match fault {
        Listing::Fails | Listing::BreaksOff(_) | Listing::Trickles(_) => {}
        Listing::Lags => {
            all.pop();
        }
        Listing::Repeats => {
            all.extend(all.clone());
            all.reverse();
        }
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
        let takes = self.takes(payload.content_length());
        if !takes.is_zero() {
            #[expect(clippy::disallowed_methods, reason = "the fault is that it is slow")]
            tokio::time::sleep(takes).await;
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
        let got = self.inner.get_opts(location, options).await?;
        let less = |left: usize| left.checked_sub(1);
        let garbled = self
            .garbled
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        match garbled {
            Ok(_) => {
                self.fired.fetch_add(1, Ordering::SeqCst);
                garble(got).await
            }
            Err(_) => self.trickle(got).await,
        }
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
        let fault = self.removals.lock().unwrap().pop_front();
        let Some(fault) = fault else {
            return self.inner.delete_stream(locations);
        };
        self.fired.fetch_add(1, Ordering::SeqCst);
        let inner = Arc::clone(&self.inner);
        let removed = async move {
            if fault == Fault::ApplyThenFail {
                let removed = inner.delete_stream(locations);
                removed.try_collect::<Vec<_>>().await?;
            }
            Err(failure("connection reset"))
        };
        stream::once(removed).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> Listed {
        self.distorted(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> Listed {
        self.distorted(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        match self.listing() {
            None => {}
            Some(Listing::Fails) => return Err(failure("connection reset")),
            Some(fault) => {
                listed.common_prefixes.sort();
                distort(&mut listed.common_prefixes, fault);
                distort(&mut listed.objects, fault);
            }
        }
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
