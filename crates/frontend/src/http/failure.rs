//! Errors as responses.

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use paceline_model::{ErrorClass, QueryError, QueryId};
use serde_json::json;

use crate::status::{RETRY_AFTER_SECONDS, http_code, worth_retrying};

/// The header that names the query of a response.
pub(super) const QUERY_HEADER: &str = "x-paceline-query-id";

/// What went wrong, and with which query.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: QueryError,
    query: Option<QueryId>,
    /// Where HTTP has a code of its own for it.
    code: Option<StatusCode>,
    /// Whether the same request may be answered otherwise in a moment.
    retry: bool,
}

impl Failure {
    /// A failure of HTTP's own, which has a code of its own.
    pub(super) fn refused(code: StatusCode, message: impl Into<String>) -> Self {
        Failure {
            error: QueryError::new(ErrorClass::User, message),
            query: None,
            code: Some(code),
            retry: false,
        }
    }

    /// The same, of that query.
    pub(super) fn of(error: QueryError, query: QueryId) -> Self {
        Failure {
            query: Some(query),
            ..error.into()
        }
    }

    /// The same, which passes by itself.
    pub(super) fn for_now(error: QueryError, query: QueryId) -> Self {
        Failure {
            retry: true,
            ..Failure::of(error, query)
        }
    }

    /// The same, which no repeat of the request changes, whatever its class.
    pub(super) fn for_good(error: QueryError, query: QueryId) -> Self {
        Failure {
            retry: false,
            ..Failure::of(error, query)
        }
    }

    /// The same, of something that was there and never comes back.
    pub(super) fn gone(error: QueryError, query: QueryId) -> Self {
        Failure {
            code: Some(StatusCode::GONE),
            ..Failure::for_good(error, query)
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Failure {
            retry: worth_retrying(error.class),
            error,
            query: None,
            code: None,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let class = self.error.class;
        let body = json!({
            "error": {
                "class": class.as_str(),
                "message": self.error.message,
                "query_id": self.query.map(|query| query.to_string()),
            }
        });
        let code = self.code.unwrap_or_else(|| http_code(class));
        let mut response = (code, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.retry {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        if let Some(query) = self.query.and_then(query_header) {
            headers.insert(QUERY_HEADER, query);
        }
        response.extensions_mut().insert(class);
        response
    }
}

pub(super) fn query_header(query: QueryId) -> Option<HeaderValue> {
    HeaderValue::try_from(query.to_string()).ok()
}

pub(super) async fn no_such_path(uri: Uri) -> Failure {
    let path = uri.path();
    Failure::refused(
        StatusCode::NOT_FOUND,
        format!("there is nothing at '{path}'; statements go to POST /v1/sql or /v1/queries"),
    )
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> Failure {
    let path = uri.path();
    Failure::refused(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{path} does not take {method}; the header Allow says what it takes"),
    )
}
