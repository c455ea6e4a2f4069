//! The metrics endpoint.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long a scrape under way may take once the process wants to end.
const GRACE: Duration = Duration::from_secs(1);

/// Answers `GET /metrics` in Prometheus' text format, and anything else with 404 or 405, until
/// `shutdown`.
///
/// # Errors
/// If the listener fails.
pub async fn serve_metrics(
    listener: TcpListener,
    registry: Registry,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .with_state(registry);
    let ended = shutdown.clone();
    let serving = axum::serve(listener, router)
        .with_graceful_shutdown(async move { ended.cancelled().await });
    let cut = async {
        shutdown.cancelled().await;
        #[expect(
            clippy::disallowed_methods,
            reason = "a scrape under way gets a moment when the process ends"
        )]
        tokio::time::sleep(GRACE).await;
    };
    // Cancel safety: whichever branch loses is dropped for good; nothing is resumed.
    tokio::select! {
        result = serving => result,
        () = cut => Ok(()),
    }
}

async fn metrics(State(registry): State<Registry>) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => {
            let format = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
            (format, text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use prometheus::IntCounter;

    use super::*;

    #[tokio::test]
    async fn metrics_are_served_and_nothing_else_is() {
        let registry = Registry::new();
        let counter = IntCounter::new("paceline_test_total", "A count.").unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        counter.inc_by(3);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve_metrics(listener, registry, shutdown.clone()));

        let response = reqwest::get(format!("{base}/metrics")).await.unwrap();
        let format = response.headers()[header::CONTENT_TYPE].to_str().unwrap();
        assert!(format.starts_with("text/plain; version=0.0.4"), "{format}");
        let text = response.text().await.unwrap();
        assert!(text.contains("paceline_test_total 3"), "{text}");

        let response = reqwest::get(format!("{base}/")).await.unwrap();
        assert_eq!(response.status().as_u16(), 404);

        shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), server).await;
        ended.unwrap().unwrap().unwrap();
    }
}
