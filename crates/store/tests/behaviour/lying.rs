//! Stores that do not keep their word must be refused at start.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};
use paceline_store::{Key, ProbeError, probe};
use tokio::sync::Barrier;

use crate::places::over;

#[derive(Debug)]
enum Lie {
    /// The condition is not looked at.
    Ignores,
    /// The condition is looked at, and then the object is written, one after the other.
    Races(Barrier),
    /// As one that ignores it, but the answer is "exists".
    RefusesAndOverwrites,
    /// Listings do not show anything.
    HidesFromListings,
    /// Every conditional write is refused as not built.
    KnowsNoConditions,
}

#[derive(Debug)]
struct LyingStore {
    inner: InMemory,
    lie: Lie,
}

impl fmt::Display for LyingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lying({:?})", self.lie)
    }
}

fn exists(location: &Path) -> Error {
    Error::AlreadyExists {
        path: location.to_string(),
        source: "412".into(),
    }
}

#[async_trait]
impl ObjectStore for LyingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        if opts.mode != PutMode::Create {
            return self.inner.put_opts(location, payload, opts).await;
        }
        let is_there = self.inner.head(location).await.is_ok();
        match &self.lie {
            Lie::HidesFromListings => self.inner.put_opts(location, payload, opts).await,
            Lie::KnowsNoConditions => Err(Error::NotImplemented {
                operation: "conditional put".to_string(),
                implementer: "this store".to_string(),
            }),
            Lie::Ignores => self.inner.put(location, payload).await,
            Lie::RefusesAndOverwrites => {
                let written = self.inner.put(location, payload).await?;
                if is_there {
                    Err(exists(location))
                } else {
                    Ok(written)
                }
            }
            Lie::Races(_) if is_there => Err(exists(location)),
            Lie::Races(barrier) => {
                // The first create of the probe is alone; racers come two by two.
                if !location.as_ref().ends_with("00000") {
                    barrier.wait().await;
                }
                self.inner.put(location, payload).await
            }
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.lie {
            Lie::HidesFromListings => futures::stream::empty().boxed(),
            _ => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

async fn judged(lie: Lie) -> (ProbeError, Vec<Path>) {
    let inner = InMemory::new();
    let store = Arc::new(LyingStore { inner, lie });
    let state = over(Arc::clone(&store) as Arc<dyn ObjectStore>, "the-liar");
    let refused = probe(&state).await.expect_err("it must be refused");
    assert!(refused.to_string().contains("the-liar"), "{refused}");
    let left = store.inner.list(None).map(|o| o.unwrap().location);
    (refused, left.collect().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_ignores_the_condition_is_refused() {
    for lie in [Lie::Ignores, Lie::RefusesAndOverwrites] {
        let (refused, left) = judged(lie).await;
        assert!(
            matches!(refused, ProbeError::IgnoresCondition { .. }),
            "{refused}"
        );
        assert_eq!(left, [], "the probe leaves nothing behind");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_lets_two_win_is_refused() {
    let (refused, left) = judged(Lie::Races(Barrier::new(2))).await;
    assert!(
        matches!(refused, ProbeError::Race { winners: 2.., .. }),
        "{refused}"
    );
    assert_eq!(left, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_hides_what_was_written_is_refused() {
    let (refused, _) = judged(Lie::HidesFromListings).await;
    assert!(
        matches!(refused, ProbeError::NotVisible { .. }),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_without_conditions_is_refused() {
    let (refused, _) = judged(Lie::KnowsNoConditions).await;
    let said = refused.to_string();
    assert!(said.contains("conditional put"), "{said}");
    assert!(!said.contains(&Key::new("cluster").to_string()), "{said}");
}
