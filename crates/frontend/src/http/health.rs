//! `GET /health`, `GET /v1/ready`, `GET /v1/status`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Door;
use crate::cluster::{ClusterStatus, Readiness};

/// The process lives: load balancers and orchestrators need not restart it.
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// Whether queries should be sent here.
pub(super) async fn ready(State(door): State<Door>) -> Response {
    match door.service.readiness() {
        Readiness::Ready => Json(json!({"ready": true})).into_response(),
        Readiness::NotReady(reasons) => {
            let body = json!({"ready": false, "reasons": reasons});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

pub(super) async fn status(State(door): State<Door>) -> Json<ClusterStatus> {
    Json(door.service.cluster())
}
