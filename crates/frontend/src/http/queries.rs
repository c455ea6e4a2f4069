//! `GET /v1/queries/{id}`, `DELETE /v1/queries/{id}`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use paceline_model::{InvalidId, QueryError, QueryId};

use super::Door;
use super::failure::Failure;
use super::report::QueryReport;
use super::request::user;

pub(super) async fn one(
    State(door): State<Door>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<QueryReport>, Failure> {
    let query = query_id(id)?;
    let status = door.service.status(query).await;
    status
        .map(|status| Json(status.into()))
        .map_err(|error| Failure::of(error, query))
}

pub(super) async fn cancel(
    State(door): State<Door>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Failure> {
    let query = query_id(id)?;
    let cancelled = door.service.cancel(query).await;
    cancelled
        .map(|()| StatusCode::NO_CONTENT)
        .map_err(|error| Failure::of(error, query))
}

/// The query that a path names.
pub(super) fn query_id(id: Result<Path<String>, PathRejection>) -> Result<QueryId, QueryError> {
    let Path(text) = id.map_err(|e| user(e.body_text()))?;
    text.parse().map_err(|e: InvalidId| user(e.to_string()))
}
