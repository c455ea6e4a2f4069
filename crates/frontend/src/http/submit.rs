//! `POST /v1/queries`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use paceline_model::QueryError;
use serde::Deserialize;
use serde_json::Value;

use super::failure::{Failure, QUERY_HEADER, query_header};
use super::report::QueryReport;
use super::request::{Sent, user};
use super::{Door, statement};
use crate::submission::Submission;

/// The longest time that may be asked for. Far from where sums of times overflow.
const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The body, if it is JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonSubmission {
    sql: String,
    #[serde(default)]
    settings: BTreeMap<String, Value>,
    /// The values of `$1`, `$2` and so on.
    #[serde(default)]
    parameters: Vec<Value>,
    timeout: Option<String>,
    result_ttl: Option<String>,
}

/// Takes a query that runs by itself.
pub(super) async fn submit(
    State(door): State<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, HeaderMap, Json<QueryReport>), Failure> {
    let sent = Sent::receive(&headers, body, door.max_request).await?;
    let status = door.service.enqueue(submission(sent)?).await?;
    let query = status.query;
    let mut headers = HeaderMap::new();
    if let Ok(location) = HeaderValue::try_from(format!("/v1/queries/{query}")) {
        headers.insert(header::LOCATION, location);
    }
    if let Some(query) = query_header(query) {
        headers.insert(QUERY_HEADER, query);
    }
    Ok((StatusCode::ACCEPTED, headers, Json(status.into())))
}

fn submission(sent: Sent) -> Result<Submission, QueryError> {
    if !sent.json {
        return statement::of(sent).map(Submission::new);
    }
    let body: JsonSubmission = serde_json::from_str(&sent.text).map_err(|e| {
        user(format!(
            "the body is not {{\"sql\": \"…\", \"settings\": {{…}}, \"parameters\": […], \"timeout\": \
             \"30s\", \"result_ttl\": \"1h\"}}: {e}"
        ))
    })?;
    let statement = statement::of_json(body.sql, body.settings, body.parameters, sent.session)?;
    Ok(Submission {
        statement: statement::finished(statement, sent.idempotency_key)?,
        timeout: time("timeout", body.timeout)?,
        result_ttl: time("result_ttl", body.result_ttl)?,
    })
}

fn time(name: &str, text: Option<String>) -> Result<Option<Duration>, QueryError> {
    let Some(text) = text else { return Ok(None) };
    let time = humantime::parse_duration(&text).map_err(|e| {
        user(format!(
            "{name}: '{text}' is no duration ({e}): write 30s or 5m"
        ))
    })?;
    if time.is_zero() || time > MAX_TIME {
        return Err(user(format!(
            "{name}: '{text}' is not between 1ns and 365 days"
        )));
    }
    Ok(Some(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_bounded() {
        let of = |text: &str| time("timeout", Some(text.to_string()));
        assert_eq!(of("30s"), Ok(Some(Duration::from_secs(30))));
        assert_eq!(of("1h 5m"), Ok(Some(Duration::from_secs(3900))));
        assert_eq!(time("timeout", None), Ok(None));
        for text in ["", "30", "soon", "-1s", "0s", "366d", "99999999999999years"] {
            let message = of(text).unwrap_err().message;
            let named = message.contains("timeout") && message.contains(&format!("'{text}'"));
            assert!(named, "{message}");
        }
    }
}
