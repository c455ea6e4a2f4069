//! An executor's HTTP port: whether it lives, and whether it takes tasks.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use paceline_executor::{Executor, ExecutorStatus, Phase};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long a request under way may take once the executor has ended.
const GRACE: Duration = Duration::from_secs(1);

pub(super) async fn serve(
    listener: TcpListener,
    executor: Arc<Executor>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/health", get(async || "alive\n"))
        .route("/v1/ready", get(ready))
        .route("/v1/status", get(status))
        .with_state(executor);
    let ended = stop.clone();
    let serving = axum::serve(listener, router)
        .with_graceful_shutdown(async move { ended.cancelled().await });
    let cut = async {
        stop.cancelled().await;
        #[expect(
            clippy::disallowed_methods,
            reason = "a request under way gets a moment when the process ends"
        )]
        tokio::time::sleep(GRACE).await;
    };
    // Cancel safety: whichever branch loses is dropped for good; nothing is resumed.
    tokio::select! {
        result = serving => result,
        () = cut => Ok(()),
    }
}

async fn ready(State(executor): State<Arc<Executor>>) -> (StatusCode, Json<Value>) {
    let mut reasons = Vec::new();
    let status = executor.status();
    if status.phase != Phase::Serving {
        reasons.push("it is about to stop and takes no more tasks");
    }
    if status.schedulers.is_empty() {
        reasons.push("it is attached to no scheduler");
    }
    let code = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        code,
        Json(json!({ "ready": reasons.is_empty(), "reasons": reasons })),
    )
}

async fn status(State(executor): State<Arc<Executor>>) -> Json<Value> {
    let ExecutorStatus {
        executor,
        address,
        phase,
        schedulers,
        slots,
        slots_used,
        slots_queued,
        queries,
        attempts,
    } = executor.status();
    Json(json!({
        "executor": executor,
        "version": env!("CARGO_PKG_VERSION"),
        "address": address,
        "phase": format!("{phase:?}").to_lowercase(),
        "schedulers": schedulers,
        "slots": slots,
        "slots_used": slots_used,
        "slots_queued": slots_queued,
        "queries": queries,
        "attempts": attempts,
    }))
}
