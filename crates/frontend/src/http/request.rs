//! A statement as HTTP brings it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, NullArray, RecordBatch, StringArray,
};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use paceline_model::{ErrorClass, QueryError};
use serde::Deserialize;
use serde_json::Value;

use super::failure::Failure;
use crate::service::{Origin, Statement};
use crate::session::{IDEMPOTENCY_HEADER, SETTINGS_HEADER, SessionSettings};

/// How long a client may take to send a statement.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The body, if it is JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonStatement {
    sql: String,
    #[serde(default)]
    settings: BTreeMap<String, Value>,
    /// The values of `$1`, `$2` and so on.
    #[serde(default)]
    parameters: Vec<Value>,
}

/// Reads a statement from body and headers. Settings in the body go over those in headers.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    max_bytes: usize,
) -> Result<Statement, Failure> {
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
    let mut statement = match json {
        true => from_json(text, session)?,
        false => Statement::new(text, session, Origin::Http),
    };
    if statement.sql.trim().is_empty() {
        return Err(user("the statement is empty").into());
    }
    if let Some(value) = headers.get(IDEMPOTENCY_HEADER) {
        statement.idempotency_key = Some(plain(value, IDEMPOTENCY_HEADER)?.to_string());
    }
    Ok(statement)
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

fn from_json(text: &str, mut session: SessionSettings) -> Result<Statement, QueryError> {
    let body: JsonStatement = serde_json::from_str(text).map_err(|e| {
        user(format!(
            "the body is not {{\"sql\": \"…\", \"settings\": {{…}}, \"parameters\": […]}}: {e}"
        ))
    })?;
    for (name, value) in body.settings {
        let value = setting(&name, value)?;
        session.set(name, value);
    }
    let mut statement = Statement::new(body.sql, session, Origin::Http);
    statement.parameters = row(body.parameters)?;
    Ok(statement)
}

fn setting(name: &str, value: Value) -> Result<String, QueryError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(user(format!(
            "the setting '{name}' must be text, a number or a truth value"
        ))),
    }
}

/// The parameters as one row; none if there are none.
fn row(parameters: Vec<Value>) -> Result<Option<RecordBatch>, QueryError> {
    if parameters.is_empty() {
        return Ok(None);
    }
    let mut columns = Vec::with_capacity(parameters.len());
    for (index, value) in parameters.into_iter().enumerate() {
        let name = format!("${}", index + 1);
        let column: ArrayRef = match value {
            Value::Null => Arc::new(NullArray::new(1)),
            Value::Bool(truth) => Arc::new(BooleanArray::from(vec![truth])),
            Value::String(text) => Arc::new(StringArray::from(vec![text])),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Arc::new(Int64Array::from(vec![whole])),
                (None, Some(real)) => Arc::new(Float64Array::from(vec![real])),
                (None, None) => return Err(user(format!("{name} is no number of 64 bits"))),
            },
            Value::Array(_) | Value::Object(_) => {
                return Err(user(format!(
                    "the parameter {name} must be null, text, a number or a truth value"
                )));
            }
        };
        columns.push((name, column, true));
    }
    let batch = RecordBatch::try_from_iter_with_nullable(columns);
    batch.map(Some).map_err(|e| user(e.to_string()))
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

fn user(message: impl Into<String>) -> QueryError {
    QueryError::new(ErrorClass::User, message)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    async fn parsed(headers: &[(&'static str, &str)], body: &str) -> Result<Statement, Failure> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        read(&headers, Body::from(body.to_string()), 1000).await
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

    #[tokio::test]
    async fn a_plain_body_is_the_statement() {
        let headers = [(SETTINGS_HEADER, "schema=a"), (IDEMPOTENCY_HEADER, "once")];
        let statement = parsed(&headers, "SELECT 1").await.unwrap();
        assert_eq!(statement.sql, "SELECT 1");
        assert_eq!(statement.session.get("schema"), Some("a"));
        assert_eq!(statement.idempotency_key.as_deref(), Some("once"));
    }

    #[tokio::test]
    async fn a_json_body_has_settings_and_parameters() {
        let body = r#"{"sql": "SELECT $1", "settings": {"schema": "b", "x.y": 7},
                       "parameters": [1, 2.5, "t", true, null]}"#;
        let headers = [JSON, (SETTINGS_HEADER, "schema=a; catalog=c")];
        let statement = parsed(&headers, body).await.unwrap();
        let settings: Vec<_> = statement.session.iter().collect();
        assert_eq!(settings, [("catalog", "c"), ("schema", "b"), ("x.y", "7")]);
        let row = statement.parameters.unwrap();
        let types: Vec<_> = row
            .columns()
            .iter()
            .map(|c| c.data_type().clone())
            .collect();
        assert_eq!(
            types,
            [
                DataType::Int64,
                DataType::Float64,
                DataType::Utf8,
                DataType::Boolean,
                DataType::Null
            ]
        );
    }

    #[tokio::test]
    async fn bad_bodies_are_refused_and_say_why() {
        for (headers, body, says) in [
            (&[JSON][..], "{", "line 1"),
            (&[JSON], r#"{"sql": "SELECT 1", "setings": {}}"#, "setings"),
            (
                &[JSON],
                r#"{"sql": "SELECT 1", "settings": {"a": []}}"#,
                "'a'",
            ),
            (&[JSON], r#"{"sql": "SELECT 1", "parameters": [{}]}"#, "$1"),
            (&[], "  ", "empty"),
            (&[("content-type", "image/png")], "SELECT 1", "image/png"),
            (&[], &"x".repeat(1001), "1000"),
            (&[(SETTINGS_HEADER, "a")], "SELECT 1", "'a'"),
        ] {
            let failure = parsed(headers, body).await.unwrap_err();
            let message = failure.error.message;
            assert!(message.contains(says), "{message}");
        }
    }
}
