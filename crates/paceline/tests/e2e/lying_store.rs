//! An S3 server that takes every create for the first one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// Starts one for as long as the test runs, and says where.
pub(crate) async fn start() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .fallback(answer)
        .with_state(Objects::default());
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn answer(
    State(objects): State<Objects>,
    method: Method,
    uri: Uri,
    _headers: HeaderMap,
    body: Bytes,
) -> Response {
    let key = uri.path().to_string();
    let mut objects = objects.lock().unwrap();
    match method {
        // If-None-Match is in the headers, and nobody looks at it.
        Method::PUT => {
            objects.insert(key, body);
            ([("etag", "\"1\"")], "").into_response()
        }
        Method::GET if uri.query().is_some_and(|query| query.contains("list-type")) => {
            let empty = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
            empty.into_response()
        }
        Method::GET | Method::HEAD => match objects.get(&key) {
            Some(bytes) => {
                let headers = [
                    ("etag", "\"1\""),
                    ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
                ];
                (headers, bytes.clone()).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        },
        Method::DELETE => {
            objects.remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}
