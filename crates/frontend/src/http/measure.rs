//! Times each request from its head to the last byte of its answer.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use paceline_model::{ErrorClass, QueryError};

use super::Door;
use crate::metrics::{Protocol, RequestTimer};

pub(super) async fn measure(State(door): State<Door>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let endpoint = endpoint(request.method(), path.map(MatchedPath::as_str));
    let timer = door.metrics.request(Protocol::Http, endpoint);
    let (parts, body) = next.run(request).await.into_parts();
    let failed = parts.extensions.get::<ErrorClass>().copied();
    let outcome = match (failed, parts.status) {
        (Some(class), _) => Err(class),
        (None, StatusCode::SERVICE_UNAVAILABLE) => Err(ErrorClass::Unavailable),
        (None, _) => Ok(()),
    };
    let mut measured = Measured {
        inner: body,
        timer,
        outcome,
    };
    measured.note_end();
    Response::from_parts(parts, Body::new(measured))
}

/// The label of an endpoint: one of a fixed set, whatever is asked for.
fn endpoint(method: &Method, path: Option<&str>) -> &'static str {
    match (method.as_str(), path) {
        (_, Some("/v1/sql")) => "sql",
        ("DELETE", Some("/v1/queries/{id}")) => "cancel",
        (_, Some("/v1/queries/{id}")) => "query",
        (_, Some("/v1/queries/{id}/results")) => "results",
        ("POST", Some("/v1/queries")) => "submit",
        (_, Some("/v1/queries")) => "queries",
        (_, Some("/health")) => "health",
        (_, Some("/v1/ready")) => "ready",
        (_, Some("/v1/status")) => "status",
        _ => "other",
    }
}

/// The class of the query's failure, which lies under the errors of the body that carried it.
fn class_of(error: &axum::Error) -> ErrorClass {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<QueryError>() {
            return error.class;
        }
        cause = error.source();
    }
    ErrorClass::Bug
}

/// A body that ends its request's time when it ends. One that is dropped before was abandoned.
struct Measured {
    inner: Body,
    timer: RequestTimer,
    /// How the request ends if its body does not break.
    outcome: Result<(), ErrorClass>,
}

impl Measured {
    /// Servers stop asking once a body of known length is through, so that its end has to be seen
    /// before they do.
    fn note_end(&mut self) {
        if self.inner.is_end_stream() {
            self.complete();
        }
    }

    fn complete(&mut self) {
        match self.outcome {
            Ok(()) => self.timer.succeeded(),
            Err(class) => self.timer.failed(class),
        }
    }
}

impl HttpBody for Measured {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match frame {
            Some(Ok(frame)) => {
                self.note_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.timer.failed(class_of(&error));
                tracing::debug!(%error, "a result broke off");
                Poll::Ready(Some(Err(error)))
            }
            None => {
                self.complete();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
