//! `GET /v1/queries`, `GET /v1/queries/{id}`, `DELETE /v1/queries/{id}`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use paceline_model::{
    Epoch, ErrorClass, InvalidId, QueryError, QueryId, QueryState, QueryStatus, SchedulerId,
    StageProgress,
};
use serde::{Deserialize, Serialize};

use super::Door;
use super::failure::Failure;

/// A query's status, as HTTP tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryReport {
    /// The query.
    pub query_id: QueryId,
    /// The scheduler that drives it.
    pub owner: SchedulerId,
    /// How many owners it has had before.
    pub epoch: Epoch,
    /// Where it is in its life.
    pub state: QueryState,
    /// The statement.
    pub sql: String,
    /// From acceptance to the end, or until now.
    pub elapsed_seconds: f64,
    /// How much of that went by in planning.
    pub planning_seconds: f64,
    /// Every stage, in order.
    pub stages: Vec<StageProgress>,
    /// Why it failed, if it did.
    pub error: Option<ErrorReport>,
}

/// Why a query failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// The class, as one word.
    pub class: String,
    /// What is wrong.
    pub message: String,
}

impl From<QueryStatus> for QueryReport {
    fn from(status: QueryStatus) -> Self {
        QueryReport {
            query_id: status.query,
            owner: status.owner,
            epoch: status.epoch,
            state: status.state,
            sql: status.sql,
            elapsed_seconds: status.elapsed.as_secs_f64(),
            planning_seconds: status.planning.as_secs_f64(),
            stages: status.stages,
            error: status.error.map(|error| ErrorReport {
                class: error.class.as_str().to_string(),
                message: error.message,
            }),
        }
    }
}

/// The answer to `GET /v1/queries`.
#[derive(Debug, Serialize)]
pub(super) struct QueryList {
    queries: Vec<QueryReport>,
}

pub(super) async fn list(State(door): State<Door>) -> Json<QueryList> {
    let queries = door.service.queries().await;
    Json(QueryList {
        queries: queries.into_iter().map(QueryReport::from).collect(),
    })
}

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

fn query_id(id: Result<Path<String>, PathRejection>) -> Result<QueryId, QueryError> {
    let user = |message: String| QueryError::new(ErrorClass::User, message);
    let Path(text) = id.map_err(|e| user(e.body_text()))?;
    text.parse().map_err(|e: InvalidId| user(e.to_string()))
}
