//! An S3 server in this process that keeps its word and takes its time over every write.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;

const BUCKET: &str = "/bucket/";

#[derive(Default)]
struct Objects {
    there: BTreeMap<String, Bytes>,
    /// Every key that was ever written, as often as it was.
    written: Vec<String>,
    /// The folder of every listing.
    listed: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct SlowStore {
    objects: Arc<Mutex<Objects>>,
    write: Duration,
    endpoint: String,
    is_away: Arc<AtomicBool>,
    reads: Reads,
}

/// Reads that are held up.
#[derive(Clone)]
struct Reads {
    /// Below which folder.
    held: watch::Sender<Option<&'static str>>,
    /// How many there have been.
    count: Arc<AtomicUsize>,
}

impl Reads {
    fn new() -> Self {
        Reads {
            held: watch::Sender::new(None),
            count: Arc::default(),
        }
    }

    /// Returns once this one may go on.
    async fn pass(&self, key: &str) {
        let is_below = |folder: Option<&str>| folder.is_some_and(|folder| key.contains(folder));
        let is_held = is_below(*self.held.borrow());
        if is_held {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        let mut held = self.held.subscribe();
        // It ends with the store.
        let _ = held.wait_for(|folder| !is_below(*folder)).await;
    }
}

impl SlowStore {
    /// Starts one for as long as the test runs; a write takes so long.
    pub(crate) async fn start(write: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let store = SlowStore {
            objects: Arc::default(),
            write,
            endpoint,
            is_away: Arc::default(),
            reads: Reads::new(),
        };
        let router = Router::new().fallback(answer).with_state(store.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        store
    }

    /// How a scheduler reaches it.
    pub(crate) fn options(&self) -> BTreeMap<String, String> {
        [
            ("endpoint", self.endpoint.as_str()),
            ("region", "x"),
            ("access_key_id", "x"),
            ("secret_access_key", "x"),
            ("allow_http", "true"),
        ]
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .into()
    }

    /// From now on no write is answered.
    pub(crate) fn go_away(&self) {
        self.is_away.store(true, Ordering::Relaxed);
    }

    /// From now on no read below a folder is answered, until all may go on.
    pub(crate) fn hold_reads(&self, folder: &'static str) {
        self.reads.held.send_replace(Some(folder));
    }

    /// How many reads have been held up so far.
    pub(crate) fn reads_held(&self) -> usize {
        self.reads.count.load(Ordering::Relaxed)
    }

    pub(crate) fn let_reads_go(&self) {
        self.reads.held.send_replace(None);
    }

    /// How often something was written below a folder.
    pub(crate) fn writes(&self, folder: &str) -> usize {
        let objects = self.objects.lock();
        let below = |key: &&String| key.contains(folder);
        objects.written.iter().filter(below).count()
    }

    /// How often a folder was listed, or one below it.
    pub(crate) fn lists(&self, folder: &str) -> usize {
        let objects = self.objects.lock();
        let below = |listed: &&String| listed.contains(folder);
        objects.listed.iter().filter(below).count()
    }

    /// How much there is below a folder.
    pub(crate) fn names(&self, folder: &str) -> usize {
        let objects = self.objects.lock();
        let below = |key: &&String| key.contains(folder);
        objects.there.keys().filter(below).count()
    }

    async fn put(&self, key: String, only_if_absent: bool, body: Bytes) -> Response {
        #[expect(clippy::disallowed_methods, reason = "the store is slow")]
        tokio::time::sleep(self.write).await;
        if self.is_away.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        let mut objects = self.objects.lock();
        if only_if_absent && objects.there.contains_key(&key) {
            return StatusCode::PRECONDITION_FAILED.into_response();
        }
        objects.written.push(key.clone());
        objects.there.insert(key, body);
        ([("etag", "\"1\"")], "").into_response()
    }

    fn get(&self, key: &str) -> Response {
        let headers = [
            ("etag", "\"1\""),
            ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ];
        match self.objects.lock().there.get(key) {
            Some(bytes) => (headers, bytes.clone()).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response {
        let text = |name| query.get(name).cloned().unwrap_or_default();
        let (prefix, after, delimiter) = (text("prefix"), text("start-after"), text("delimiter"));
        let mut objects = self.objects.lock();
        objects.listed.push(prefix.clone());
        let keys = objects.there.keys();
        let mut folders = BTreeSet::new();
        let mut out = "<ListBucketResult><IsTruncated>false</IsTruncated>".to_string();
        for key in keys.filter(|key| key.starts_with(&prefix) && **key > after) {
            let deeper = key
                .get(prefix.len()..)
                .and_then(|rest| rest.split_once('/'));
            if let (false, Some((folder, _))) = (delimiter.is_empty(), deeper) {
                folders.insert(format!("{prefix}{folder}/"));
                continue;
            }
            write!(
                out,
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                 <ETag>\"1\"</ETag><Size>1</Size></Contents>"
            )
            .unwrap();
        }
        for folder in folders {
            write!(
                out,
                "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"
            )
            .unwrap();
        }
        out.push_str("</ListBucketResult>");
        out.into_response()
    }

    fn delete_all(&self, body: &[u8]) -> Response {
        let text = String::from_utf8_lossy(body);
        let mut out = "<DeleteResult>".to_string();
        let keys = text.split("<Key>").skip(1);
        for (key, _) in keys.filter_map(|rest| rest.split_once("</Key>")) {
            self.objects.lock().there.remove(key);
            write!(out, "<Deleted><Key>{key}</Key></Deleted>").unwrap();
        }
        out.push_str("</DeleteResult>");
        out.into_response()
    }
}

async fn answer(
    State(store): State<SlowStore>,
    Query(query): Query<BTreeMap<String, String>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let key = uri
        .path()
        .strip_prefix(BUCKET)
        .unwrap_or_default()
        .to_string();
    match method {
        Method::PUT => {
            store
                .put(key, headers.contains_key("if-none-match"), body)
                .await
        }
        Method::GET if query.contains_key("list-type") => store.list(&query),
        Method::GET => {
            store.reads.pass(&key).await;
            store.get(&key)
        }
        Method::POST if query.contains_key("delete") => store.delete_all(&body),
        Method::DELETE => {
            store.objects.lock().there.remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}
