//! `POST /v1/sql`.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures::stream::{self, StreamExt, TryStreamExt};
use paceline_model::QueryError;

use super::body::respond;
use super::failure::Failure;
use super::format::Format;
use super::request::Sent;
use super::{Door, statement};
use crate::counted::count;
use crate::service::{ResultStream, Submitted};

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
    let mut result = door.service.results(&submitted.ticket).await?;
    let changed = match submitted.rows_affected {
        // What may not run afresh writes, and knows what it wrote only once it did.
        None if submitted.ticket.afresh.is_none() => written(&mut result).await?,
        known => known,
    };
    let metrics = door.metrics.clone();
    let mut response = respond(submitted.query, format, result, metrics).await?;
    if let Some(rows) = changed {
        response.headers_mut().insert(ROWS_HEADER, rows.into());
    }
    Ok(response)
}

/// How many rows a write wrote; its result says so, and stays whole.
async fn written(result: &mut ResultStream) -> Result<Option<i64>, QueryError> {
    let first = result.batches.try_next().await?;
    let written = first.as_ref().and_then(count);
    let rest = std::mem::replace(&mut result.batches, stream::empty().boxed());
    result.batches = stream::iter(first.map(Ok)).chain(rest).boxed();
    Ok(written)
}
