//! `GET /v1/queries/{id}/results`.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use paceline_model::{ErrorClass, QueryError, QueryId, QueryState};
use serde::Deserialize;

use super::Door;
use super::body::respond;
use super::failure::Failure;
use super::format::Format;
use super::listing::link;
use super::queries::query_id;
use super::request::user;
use crate::stored::StoredResult;

/// The header that says how many rows the whole result has.
const ROWS_HEADER: &str = "x-paceline-result-rows";

/// The header that says in how many pages it can be read.
const PAGES_HEADER: &str = "x-paceline-result-pages";

/// What stands behind the question mark.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    /// Counted from 0; all of them without it.
    page: Option<u64>,
}

pub(super) async fn read(
    State(door): State<Door>,
    id: Result<Path<String>, PathRejection>,
    choice: Result<Query<Choice>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let format = Format::negotiate(&headers)?;
    let query = query_id(id)?;
    let Query(Choice { page }) = choice.map_err(|e| user(e.body_text()))?;
    let stored = match door.service.stored_result(query).await {
        Ok(stored) => stored,
        Err(error) => return Err(explained(&door, query, error).await),
    };
    answer(&door, query, format, &stored, page)
        .await
        .map_err(|error| Failure::of(error, query))
}

async fn answer(
    door: &Door,
    query: QueryId,
    format: Format,
    stored: &StoredResult,
    page: Option<u64>,
) -> Result<Response, QueryError> {
    let rows = match page {
        Some(page) => stored.page(page)?,
        None => stored.all(),
    };
    let mut response = respond(query, format, rows, door.metrics.clone()).await?;
    let headers = response.headers_mut();
    headers.insert(ROWS_HEADER, stored.rows.into());
    headers.insert(PAGES_HEADER, stored.pages.into());
    let next = page.map(|page| page.saturating_add(1));
    let next = next.filter(|next| *next < stored.pages);
    headers.extend(link(
        next.map(|next| format!("/v1/queries/{query}/results?page={next}")),
    ));
    Ok(response)
}

/// Why there is no result, in the light of how the query stands.
async fn explained(door: &Door, query: QueryId, error: QueryError) -> Failure {
    let Ok(status) = door.service.status(query).await else {
        return Failure::of(error, query);
    };
    if !status.submitted {
        return Failure::of(error, query);
    }
    match status.state {
        QueryState::Queued | QueryState::Running => {
            let message = format!(
                "query {query} is {} and has no result yet: ask again, or look at \
                 GET /v1/queries/{query} for how far it has come",
                status.state.as_str()
            );
            Failure::for_now(QueryError::new(ErrorClass::Conflict, message), query)
        }
        QueryState::Failed | QueryState::Cancelled => {
            Failure::for_good(status.error.unwrap_or(error), query)
        }
        QueryState::Finished if error.class == ErrorClass::NotFound => Failure::gone(error, query),
        QueryState::Finished => Failure::of(error, query),
    }
}
