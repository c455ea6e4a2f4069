//! The stores that the suite runs against.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use paceline_store::{Limits, StateLocation, StateStore, StoreMetrics};
use prometheus::Registry;

use crate::faulty::FaultyStore;
use crate::ministack::MiniStack;

/// Generous enough for a busy machine, short enough for hanging requests to be tested.
pub(crate) const LIMITS: Limits = Limits {
    request: Duration::from_millis(500),
    total: Duration::from_secs(4),
};

/// A store to put state into.
pub(crate) struct Place {
    objects: Arc<dyn ObjectStore>,
    name: &'static str,
    rooms: AtomicU64,
    /// Kept alive for as long as the place is used.
    directory: Option<tempfile::TempDir>,
    _server: Option<MiniStack>,
}

impl Place {
    pub(crate) fn memory() -> Self {
        Place::new("memory", Arc::new(InMemory::new()))
    }

    pub(crate) fn directory() -> Self {
        let directory = tempfile::Builder::new().prefix("directory").tempdir();
        let directory = directory.unwrap();
        let objects = LocalFileSystem::new_with_prefix(directory.path())
            .unwrap()
            .with_automatic_cleanup(true);
        Place {
            directory: Some(directory),
            ..Place::new("directory", Arc::new(objects))
        }
    }

    /// S3 over HTTP, if there is a server to be had.
    pub(crate) async fn ministack(bucket: &str) -> Option<Self> {
        let server = MiniStack::start().await?;
        server.make_bucket(bucket).await;
        let objects = AmazonS3Builder::new()
            .with_endpoint(server.endpoint())
            .with_allow_http(true)
            .with_access_key_id("test")
            .with_secret_access_key("test-secret")
            .with_bucket_name(bucket)
            .build()
            .unwrap();
        Some(Place {
            _server: Some(server),
            ..Place::new("s3", Arc::new(objects))
        })
    }

    fn new(name: &'static str, objects: Arc<dyn ObjectStore>) -> Self {
        Place {
            objects,
            name,
            rooms: AtomicU64::new(0),
            directory: None,
            _server: None,
        }
    }

    /// An empty part of the store.
    pub(crate) fn fresh(&self) -> Room {
        let number = self.rooms.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("room{number}");
        let directory = self.directory.as_ref();
        Room {
            directory: directory.map(|directory| directory.path().join(&prefix)),
            objects: Arc::new(PrefixStore::new(
                Arc::clone(&self.objects),
                Path::from(prefix),
            )),
            name: self.name,
        }
    }
}

/// A part of a store that belongs to one test.
pub(crate) struct Room {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) name: &'static str,
    /// Where it lies in the file system, if it does.
    directory: Option<PathBuf>,
}

impl Room {
    /// The state in it, as one more process would open it.
    pub(crate) fn open(&self) -> StateStore {
        match &self.directory {
            Some(directory) => inside(directory),
            None => over(Arc::clone(&self.objects), self.name),
        }
    }

    /// The same, through faults.
    pub(crate) fn faulty(&self) -> (Arc<FaultyStore>, StateStore) {
        let faulty = Arc::new(FaultyStore::new(Arc::clone(&self.objects)));
        let state = over(Arc::clone(&faulty) as Arc<dyn ObjectStore>, self.name);
        (faulty, state)
    }
}

/// The state in a directory.
pub(crate) fn inside(directory: &std::path::Path) -> StateStore {
    let shown = directory.display().to_string();
    let location = StateLocation::parse(&shown, &Default::default(), []).unwrap();
    StateStore::open(&location, LIMITS, metrics()).unwrap()
}

pub(crate) fn over(objects: Arc<dyn ObjectStore>, name: &str) -> StateStore {
    StateStore::over(objects, name, LIMITS, metrics())
}

pub(crate) fn metrics() -> StoreMetrics {
    StoreMetrics::register(&Registry::new()).unwrap()
}
