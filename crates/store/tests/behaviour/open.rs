//! Opening a location, as a process does at start, and what is said when that is of no use.

use std::time::{Duration, Instant};

use paceline_store::{
    ClusterIdentity, Key, Limits, LocationError, ProbeError, StateLocation, StateStore, StoreError,
    probe,
};
use tokio::net::TcpListener;

use crate::ministack::MiniStack;
use crate::places::{LIMITS, metrics};

const SECRET: &str = "hunter2hunter2";

fn location(text: &str, options: &[(&str, &str)]) -> StateLocation {
    let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    StateLocation::parse(text, &options.collect(), []).unwrap()
}

fn s3(text: &str, endpoint: &str) -> StateStore {
    let options = [
        ("endpoint", endpoint),
        ("allow_http", "true"),
        ("access_key_id", "test"),
        ("secret_access_key", SECRET),
    ];
    StateStore::open(&location(text, &options), LIMITS, metrics()).unwrap()
}

#[tokio::test]
async fn a_directory_is_made_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("some where/state");
    let by_path = location(inside.to_str().unwrap(), &[]);
    let url = url::Url::from_directory_path(&inside).unwrap();
    let by_url = location(url.as_str(), &[]);
    let one = StateStore::open(&by_path, LIMITS, metrics()).unwrap();
    let other = StateStore::open(&by_url, LIMITS, metrics()).unwrap();
    assert_eq!(probe(&one).await, Ok(()));
    let founded = ClusterIdentity::establish(&one).await.unwrap();
    assert_eq!(ClusterIdentity::establish(&other).await, Ok(founded));
    assert!(inside.join("cluster").is_file());
}

#[tokio::test]
async fn a_file_is_no_directory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let refused = StateStore::open(&location(path, &[]), LIMITS, metrics()).unwrap_err();
    assert!(
        matches!(refused, LocationError::Unusable { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains(path), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bucket_is_opened_by_its_location() {
    let Some(server) = MiniStack::start().await else {
        return;
    };
    server.make_bucket("state-open").await;
    let one = s3("s3://state-open/pre/fix", &server.endpoint());
    let other = s3("s3://state-open/pre/other", &server.endpoint());
    assert_eq!(probe(&one).await, Ok(()));
    one.create(&Key::new("x"), b"1").await.unwrap();
    assert_eq!(one.get(&Key::new("x")).await.unwrap().unwrap(), "1");
    assert_eq!(other.get(&Key::new("x")).await, Ok(None));

    let missing = s3("s3://state-absent/x", &server.endpoint());
    let refused = probe(&missing).await.unwrap_err();
    let said = refused.to_string();
    assert!(
        matches!(refused, ProbeError::Store(StoreError::Refused { .. })),
        "{said}"
    );
    assert!(
        said.contains("state-absent") && said.contains("bucket"),
        "{said}"
    );
}

#[tokio::test]
async fn a_store_that_is_not_there_is_named_without_secrets() {
    // Bound and never listened on again: connections are refused.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let state = s3("s3://bucket/x", &endpoint);
    let started = Instant::now();
    let refused = probe(&state).await.unwrap_err();
    let said = format!("{refused} {refused:?} {state:?}");
    assert!(
        said.contains("s3://bucket/x") && said.contains("reached"),
        "{said}"
    );
    assert!(said.contains("refused"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
    assert!(started.elapsed() < 4 * LIMITS.total);
}

#[tokio::test]
async fn a_store_that_is_silent_is_given_up_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let options = [
        ("endpoint", endpoint.as_str()),
        ("allow_http", "true"),
        ("access_key_id", "test"),
        ("secret_access_key", SECRET),
    ];
    let limits = Limits {
        request: Duration::from_millis(100),
        total: Duration::from_millis(400),
    };
    let location = location("s3://bucket", &options);
    let state = StateStore::open(&location, limits, metrics()).unwrap();
    let started = Instant::now();
    let read = state.get(&Key::new("x")).await.unwrap_err();
    assert!(matches!(read, StoreError::Unavailable { .. }), "{read}");
    let created = state.create(&Key::new("x"), b"1").await.unwrap_err();
    assert!(matches!(created, StoreError::Unknown { .. }), "{created}");
    let took = started.elapsed();
    assert!(
        took > limits.request && took < Duration::from_secs(4),
        "{took:?}"
    );
}
