//! `GET /v1/queries`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use paceline_model::{InvalidId, QueryError, QueryState, SchedulerId};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::Door;
use super::failure::Failure;
use super::report::QueryReport;
use super::request::user;
use crate::listing::{Place, QueryFilter};

/// What stands behind the question mark.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    /// One state, or several with commas between them.
    state: Option<String>,
    owner: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct QueryList {
    queries: Vec<QueryReport>,
    /// Where the list goes on, if it does.
    next: Option<String>,
    /// Schedulers that did not answer, whose queries are missing.
    unreachable: Vec<SchedulerId>,
    /// Why queries may be missing that ended at others, if some may.
    incomplete: Option<String>,
}

pub(super) async fn list(
    State(door): State<Door>,
    choice: Result<Query<Choice>, QueryRejection>,
) -> Result<(HeaderMap, Json<QueryList>), Failure> {
    let Query(choice) = choice.map_err(|e| user(e.body_text()))?;
    let filter = choice.filter()?;
    let page = door.service.list(filter).await?;
    let last = page.queries.last().map(Place::of);
    let next = last
        .filter(|_| page.more)
        .map(|last| choice.following(last));
    let list = QueryList {
        queries: page.queries.into_iter().map(QueryReport::from).collect(),
        unreachable: page.unreachable,
        incomplete: page.incomplete,
        next: next.clone(),
    };
    Ok((link(next), Json(list)))
}

/// The header that says where to go on.
pub(super) fn link(next: Option<String>) -> HeaderMap {
    let value = next.and_then(|url| HeaderValue::try_from(format!("<{url}>; rel=\"next\"")).ok());
    value
        .into_iter()
        .map(|value| (header::LINK, value))
        .collect()
}

impl Choice {
    fn filter(&self) -> Result<QueryFilter, QueryError> {
        let states = self.state.iter().flat_map(|text| text.split(','));
        let after = self.after.as_deref().map(str::parse).transpose();
        Ok(QueryFilter {
            states: states.map(state).collect::<Result<_, _>>()?,
            owner: self.owner.as_deref().map(SchedulerId::new),
            limit: self.limit()?,
            after: after.map_err(|e: InvalidId| user(format!("after: {e}")))?,
        })
    }

    fn limit(&self) -> Result<usize, QueryError> {
        let most = QueryFilter::MAX_LIMIT;
        match self.limit {
            None => Ok(QueryFilter::default().limit),
            Some(limit) if (1..=most).contains(&limit) => Ok(limit),
            Some(limit) => Err(user(format!("limit: {limit} is not between 1 and {most}"))),
        }
    }

    /// The same list after one of its places.
    fn following(&self, last: Place) -> String {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        let limit = self.limit.map(|limit| limit.to_string());
        let given = [
            ("state", self.state.as_ref()),
            ("owner", self.owner.as_ref()),
            ("limit", limit.as_ref()),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                pairs.append_pair(name, value);
            }
        }
        pairs.append_pair("after", &last.to_string());
        format!("/v1/queries?{}", pairs.finish())
    }
}

fn state(text: &str) -> Result<QueryState, QueryError> {
    QueryState::parse(text.trim()).ok_or_else(|| {
        let all = QueryState::ALL.map(QueryState::as_str).join(", ");
        user(format!("state: '{text}' is none of {all}"))
    })
}
