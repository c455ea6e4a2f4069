//! Opening a location, as a process does at start, and what is said when that is of no use.

use std::time::{Duration, Instant};

use paceline_model::CatalogVersion;
use paceline_store::{
    CatalogLog, ClusterIdentity, Created, Key, Limits, LocationError, OnExisting, ProbeError,
    StateLocation, StateStore, StoreError, probe,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::catalog::{by, table};
use crate::ministack::MiniStack;
use crate::places::{LIMITS, inside, metrics};

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
async fn what_a_power_cut_left_empty_is_named_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let state = inside(directory.path());
    let written = table("t", "here", OnExisting::Refuse);
    let log = CatalogLog::open(state.clone()).await.unwrap();
    log.append(&written, &by("s")).await.unwrap();
    let empty = Key::new("catalog").numbered(2).to_string();
    std::fs::write(directory.path().join(&empty), b"").unwrap();

    let refused = CatalogLog::open(state.clone()).await.unwrap_err();
    let said = refused.to_string();
    for word in [empty.as_str(), "it is empty", "remove it"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    std::fs::remove_file(directory.path().join(&empty)).unwrap();
    let log = CatalogLog::open(state).await.unwrap();
    assert_eq!(log.current().version(), CatalogVersion(1));
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

/// What an S3 server is asked: the lines of the request's head, and its body.
async fn asked(stream: &mut BufReader<TcpStream>) -> (Vec<String>, Vec<u8>) {
    let mut head = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push(line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (head, body)
}

/// Serves one object, of which the first write meets another one that is under way: 409, and nothing
/// lands. What the writes ask for is told.
async fn serve_a_conflict(listener: TcpListener, writes: mpsc::UnboundedSender<Vec<String>>) {
    let (mut there, mut sent) = (None, 0);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let (head, body) = asked(&mut stream).await;
        let writes_it = head[0].starts_with("put ");
        let (status, answer) = match (writes_it, &there) {
            (true, _) if sent == 0 => ("409 Conflict", Vec::new()),
            (true, _) => ("200 OK", Vec::new()),
            (false, Some(body)) => ("200 OK", Vec::clone(body)),
            (false, None) => ("404 Not Found", Vec::new()),
        };
        if writes_it {
            there = (sent > 0).then_some(body);
            sent += 1;
            writes.send(head).unwrap();
        }
        let length = answer.len();
        let head = format!(
            "HTTP/1.1 {status}\r\netag: \"1\"\r\nlast-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&answer).await.unwrap();
        stream.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_create_that_a_server_answers_with_a_conflict_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (told, mut writes) = mpsc::unbounded_channel();
    let serving = tokio::spawn(serve_a_conflict(listener, told));
    let state = s3("s3://bucket", &endpoint);
    let key = Key::new("x");
    assert_eq!(state.create(&key, b"mine").await, Ok(Created::Won));
    assert_eq!(state.get(&key).await.unwrap().unwrap(), "mine");
    for _ in 0..2 {
        let head = writes.try_recv().unwrap();
        assert!(head.contains(&"if-none-match: *".to_string()), "{head:?}");
    }
    assert!(writes.try_recv().is_err(), "two sends are enough");
    serving.abort();
}
