//! What comes with a statement over HTTP: the body as text, and what the headers say.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use paceline_model::{ErrorClass, QueryError};

use super::failure::Failure;
use crate::session::{IDEMPOTENCY_HEADER, SETTINGS_HEADER, SessionSettings, idempotency_key};

/// How long a client may take to send a statement.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A request that brings a statement.
#[derive(Debug)]
pub(super) struct Sent {
    /// The body.
    pub(super) text: String,
    /// Whether the body is JSON; else it is the statement itself.
    pub(super) json: bool,
    /// The settings in headers.
    pub(super) session: SessionSettings,
    pub(super) idempotency_key: Option<String>,
}

impl Sent {
    /// Reads a request to its end.
    pub(super) async fn receive(
        headers: &HeaderMap,
        body: Body,
        max_bytes: usize,
    ) -> Result<Self, Failure> {
        let json = is_json(headers)?;
        let body = read_body(body, max_bytes).await?;
        let text = std::str::from_utf8(&body).map_err(|e| {
            let at = e.valid_up_to();
            user(format!("the body is not UTF-8 from byte {at} on"))
        })?;
        let mut session = SessionSettings::default();
        for value in headers.get_all(SETTINGS_HEADER) {
            session.merge_header(plain(value, SETTINGS_HEADER)?)?;
        }
        let key = headers.get(IDEMPOTENCY_HEADER).map(key).transpose()?;
        Ok(Sent {
            text: text.to_string(),
            json,
            session,
            idempotency_key: key,
        })
    }
}

async fn read_body(body: Body, max_bytes: usize) -> Result<Bytes, Failure> {
    let reading = axum::body::to_bytes(body, max_bytes);
    match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(Failure::refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {max_bytes} bytes, or it broke off"),
        )),
        Err(_) => Err(Failure::refused(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body took longer than {BODY_TIMEOUT:?} to arrive"),
        )),
    }
}

fn key(value: &HeaderValue) -> Result<String, QueryError> {
    idempotency_key(plain(value, IDEMPOTENCY_HEADER)?)
}

/// Whether the body is JSON. Without a type it is plain SQL.
fn is_json(headers: &HeaderMap) -> Result<bool, Failure> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(false);
    };
    let text = plain(value, "content-type")?;
    let media_type = text.split(';').next().unwrap_or_default().trim();
    match media_type.to_ascii_lowercase().as_str() {
        "application/json" => Ok(true),
        // What curl says if it is not told otherwise.
        "text/plain" | "application/sql" | "application/x-www-form-urlencoded" | "" => Ok(false),
        other => Err(Failure::refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("a statement is text/plain or application/json, not '{other}'"),
        )),
    }
}

fn plain<'v>(value: &'v HeaderValue, name: &str) -> Result<&'v str, QueryError> {
    value
        .to_str()
        .map_err(|_| user(format!("the header {name} is not plain text")))
}

pub(super) fn user(message: impl Into<String>) -> QueryError {
    QueryError::new(ErrorClass::User, message)
}
