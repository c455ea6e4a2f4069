//! `POST /v1/sql`.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use paceline_model::QueryError;

use super::body::respond;
use super::failure::Failure;
use super::format::Format;
use super::request::Sent;
use super::{Door, statement};
use crate::service::Submitted;

/// The header that says how many rows a statement changed.
const ROWS_HEADER: &str = "x-paceline-rows-affected";

/// Runs a statement and streams its result.
pub(super) async fn run(
    State(door): State<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let format = Format::negotiate(&headers)?;
    let sent = Sent::receive(&headers, body, door.max_request).await?;
    let statement = statement::of(sent)?;
    let submitted = door.service.submit(statement).await?;
    let query = submitted.query;
    answer(&door, format, submitted)
        .await
        .map_err(|error| Failure::of(error, query))
}

async fn answer(door: &Door, format: Format, submitted: Submitted) -> Result<Response, QueryError> {
    let result = door.service.results(&submitted.ticket).await?;
    let metrics = door.metrics.clone();
    let mut response = respond(submitted.query, format, result, metrics).await?;
    if let Some(rows) = submitted.rows_affected {
        response.headers_mut().insert(ROWS_HEADER, rows.into());
    }
    Ok(response)
}
