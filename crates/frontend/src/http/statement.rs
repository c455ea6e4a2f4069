//! A statement as HTTP brings it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, NullArray, RecordBatch, StringArray,
    UInt64Array,
};
use paceline_model::QueryError;
use serde::Deserialize;
use serde_json::{Number, Value};

use super::request::{Sent, user};
use crate::service::{Origin, Statement};
use crate::session::SessionSettings;

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

/// The statement that a client sent.
pub(super) fn of(sent: Sent) -> Result<Statement, QueryError> {
    let statement = match sent.json {
        true => {
            let body: JsonStatement = serde_json::from_str(&sent.text).map_err(|e| {
                user(format!(
                    "the body is not {{\"sql\": \"…\", \"settings\": {{…}}, \"parameters\": […]}}: {e}"
                ))
            })?;
            of_json(body.sql, body.settings, body.parameters, sent.session)?
        }
        false => Statement::new(sent.text, sent.session, Origin::Http),
    };
    finished(statement, sent.idempotency_key)
}

/// The statement of a JSON body, whose settings go over those of headers.
pub(super) fn of_json(
    sql: String,
    settings: BTreeMap<String, Value>,
    parameters: Vec<Value>,
    mut session: SessionSettings,
) -> Result<Statement, QueryError> {
    for (name, value) in settings {
        let value = setting(&name, value)?;
        session.set(name, value);
    }
    let mut statement = Statement::new(sql, session, Origin::Http);
    statement.parameters = row(parameters)?;
    Ok(statement)
}

/// The statement with its key, if there is anything to run.
pub(super) fn finished(
    mut statement: Statement,
    idempotency_key: Option<String>,
) -> Result<Statement, QueryError> {
    if statement.sql.trim().is_empty() {
        return Err(user("the statement is empty"));
    }
    statement.idempotency_key = idempotency_key;
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
            Value::Number(number) => {
                numeric(&number).ok_or_else(|| user(format!("{name} is no number of 64 bits")))?
            }
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

/// A number as what holds it exactly, if anything does.
fn numeric(number: &Number) -> Option<ArrayRef> {
    let column: ArrayRef = match (number.as_i64(), number.as_u64()) {
        (Some(whole), _) => Arc::new(Int64Array::from(vec![whole])),
        (None, Some(large)) => Arc::new(UInt64Array::from(vec![large])),
        (None, None) => Arc::new(Float64Array::from(vec![number.as_f64()?])),
    };
    Some(column)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use axum::body::Body;

    use super::super::failure::Failure;
    use super::*;
    use crate::session::{IDEMPOTENCY_HEADER, SETTINGS_HEADER};

    async fn parsed(headers: &[(&'static str, &str)], body: &str) -> Result<Statement, Failure> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let sent = Sent::receive(&headers, Body::from(body.to_string()), 1000).await?;
        Ok(of(sent)?)
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
                       "parameters": [1, 2.5, "t", true, null, 18446744073709551615]}"#;
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
                DataType::Null,
                DataType::UInt64
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
            (&[(IDEMPOTENCY_HEADER, "")], "SELECT 1", IDEMPOTENCY_HEADER),
            (&[(IDEMPOTENCY_HEADER, &"k".repeat(257))], "SELECT 1", "257"),
        ] {
            let failure = parsed(headers, body).await.unwrap_err();
            let message = failure.error.message;
            assert!(message.contains(says), "{message}");
        }
    }
}
