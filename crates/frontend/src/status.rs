//! Error classes as gRPC and HTTP codes: the only place that maps them.
//!
//! Over gRPC an error travels whole: the standard status details carry the class and the lost
//! outputs beside code and message, so that [`from_status`] gives back what [`to_status`] was given.
//! Clients that know nothing of Paceline still see the right code and the message.

use arrow_flight::sql::Any;
use axum::http::StatusCode;
use bytes::Bytes;
use paceline_model::{Attempt, ErrorClass, ExecutorId, LostOutput, QueryError, StageId, TaskId};
use prost::Message;
use tonic::{Code, Status};

/// Seconds after which a client that met a full queue may try again.
pub(crate) const RETRY_AFTER_SECONDS: u32 = 1;

/// The most bytes of a message that travel over gRPC, where it goes into HTTP/2 trailers, twice,
/// and common clients accept no more than 16 KiB of those.
const MAX_MESSAGE_BYTES: usize = 2048;

/// The most lost outputs that travel, for the same reason.
const MAX_LOST: usize = 16;

const DETAILS_TYPE: &str = "type.googleapis.com/paceline.frontend.v1.ErrorDetails";

/// The gRPC code of a class.
pub(crate) fn grpc_code(class: ErrorClass) -> Code {
    match class {
        ErrorClass::User => Code::InvalidArgument,
        ErrorClass::NotFound => Code::NotFound,
        ErrorClass::Conflict => Code::AlreadyExists,
        ErrorClass::Cancelled => Code::Cancelled,
        ErrorClass::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorClass::Resource => Code::ResourceExhausted,
        ErrorClass::Unavailable | ErrorClass::Retryable => Code::Unavailable,
        ErrorClass::OutputLost => Code::Aborted,
        ErrorClass::Fenced => Code::FailedPrecondition,
        ErrorClass::Unsupported => Code::Unimplemented,
        ErrorClass::Bug => Code::Internal,
    }
}

/// The HTTP code of a class.
pub(crate) fn http_code(class: ErrorClass) -> StatusCode {
    match class {
        ErrorClass::User => StatusCode::BAD_REQUEST,
        ErrorClass::NotFound => StatusCode::NOT_FOUND,
        ErrorClass::Conflict => StatusCode::CONFLICT,
        // There is no registered code for it; this is what nginx and the gRPC gateways use.
        ErrorClass::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::CONFLICT),
        ErrorClass::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        ErrorClass::Resource => StatusCode::TOO_MANY_REQUESTS,
        ErrorClass::Unavailable
        | ErrorClass::Retryable
        | ErrorClass::OutputLost
        | ErrorClass::Fenced => StatusCode::SERVICE_UNAVAILABLE,
        ErrorClass::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorClass::Bug => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Whether a client does well to send the same again, unchanged, after a moment.
pub(crate) fn worth_retrying(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::Resource
            | ErrorClass::Unavailable
            | ErrorClass::Retryable
            | ErrorClass::OutputLost
            | ErrorClass::Fenced
    )
}

/// `google.rpc.Status`, which clients of many languages know how to read.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorDetails {
    #[prost(string, tag = "1")]
    class: String,
    #[prost(message, repeated, tag = "2")]
    lost: Vec<LostDetails>,
}

#[derive(Clone, PartialEq, Message)]
struct LostDetails {
    #[prost(uint32, tag = "1")]
    stage: u32,
    #[prost(uint32, tag = "2")]
    task: u32,
    #[prost(uint32, tag = "3")]
    attempt: u32,
    #[prost(string, tag = "4")]
    executor: String,
    #[prost(bool, tag = "5")]
    unreachable: bool,
}

/// The error as a gRPC status.
pub fn to_status(error: &QueryError) -> Status {
    let code = grpc_code(error.class);
    let message = shortened(&error.message);
    let details = ErrorDetails {
        class: error.class.as_str().to_string(),
        lost: error.lost.iter().take(MAX_LOST).map(lost_details).collect(),
    };
    let details = RpcStatus {
        code: code as i32,
        message: message.clone(),
        details: vec![Any {
            type_url: DETAILS_TYPE.to_string(),
            value: details.encode_to_vec().into(),
        }],
    };
    Status::with_details(code, message, details.encode_to_vec().into())
}

/// The error that a gRPC status tells of; with a status of somebody else's, the nearest class.
pub fn from_status(status: &Status) -> QueryError {
    let details = read_details(status.details());
    let class = details
        .as_ref()
        .and_then(|details| ErrorClass::parse(&details.class))
        .unwrap_or_else(|| nearest_class(status.code()));
    let lost = details.map(|details| details.lost).unwrap_or_default();
    QueryError {
        class,
        message: status.message().to_string(),
        lost: lost.into_iter().map(lost_output).collect(),
    }
}

fn read_details(bytes: &[u8]) -> Option<ErrorDetails> {
    let status = RpcStatus::decode(bytes).ok()?;
    let any = status
        .details
        .iter()
        .find(|any| any.type_url == DETAILS_TYPE)?;
    ErrorDetails::decode(Bytes::clone(&any.value)).ok()
}

fn lost_details(lost: &LostOutput) -> LostDetails {
    LostDetails {
        stage: lost.stage.0,
        task: lost.task.0,
        attempt: lost.attempt.0,
        executor: lost.executor.to_string(),
        unreachable: lost.unreachable,
    }
}

fn lost_output(details: LostDetails) -> LostOutput {
    LostOutput {
        stage: StageId(details.stage),
        task: TaskId(details.task),
        attempt: Attempt(details.attempt),
        executor: ExecutorId::new(details.executor),
        unreachable: details.unreachable,
    }
}

fn nearest_class(code: Code) -> ErrorClass {
    match code {
        Code::InvalidArgument | Code::OutOfRange => ErrorClass::User,
        Code::Unauthenticated | Code::PermissionDenied => ErrorClass::User,
        Code::NotFound => ErrorClass::NotFound,
        Code::AlreadyExists => ErrorClass::Conflict,
        Code::Cancelled => ErrorClass::Cancelled,
        Code::DeadlineExceeded => ErrorClass::DeadlineExceeded,
        Code::ResourceExhausted => ErrorClass::Resource,
        Code::Unavailable => ErrorClass::Unavailable,
        Code::Aborted => ErrorClass::Retryable,
        Code::FailedPrecondition => ErrorClass::Fenced,
        Code::Unimplemented => ErrorClass::Unsupported,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => ErrorClass::Bug,
    }
}

fn shortened(message: &str) -> String {
    if message.len() <= MAX_MESSAGE_BYTES {
        return message.to_string();
    }
    let end = message.floor_char_boundary(MAX_MESSAGE_BYTES);
    let kept = message.get(..end).unwrap_or_default();
    format!("{kept}… (shortened; the scheduler's log and HTTP have all of it)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(class: ErrorClass) -> QueryError {
        QueryError {
            class,
            message: format!("größer than expected: {class}"),
            lost: vec![LostOutput {
                stage: StageId(1),
                task: TaskId(2),
                attempt: Attempt(3),
                executor: ExecutorId::new("executor-7"),
                unreachable: true,
            }],
        }
    }

    #[test]
    fn every_error_comes_back_whole_through_a_status() {
        for class in ErrorClass::ALL {
            let error = error(class);
            let status = to_status(&error);
            assert_eq!(from_status(&status), error);
            // And through the headers that a status becomes on the wire.
            let headers = status.into_http::<()>().into_parts().0.headers;
            let read = Status::from_header_map(&headers).unwrap();
            assert_eq!(from_status(&read), error);
        }
    }

    #[test]
    fn a_status_of_somebody_elses_gets_the_nearest_class() {
        for class in ErrorClass::ALL {
            let foreign = Status::new(grpc_code(class), "foreign");
            let read = from_status(&foreign);
            assert_eq!(worth_retrying(read.class), worth_retrying(class), "{class}");
            assert_eq!(read.message, "foreign");
        }
        let garbage = Status::with_details(Code::Internal, "m", Bytes::from_static(b"\xff\xff"));
        assert_eq!(from_status(&garbage).class, ErrorClass::Bug);
    }

    #[test]
    fn codes_are_errors_and_retries_agree_with_them() {
        for class in ErrorClass::ALL {
            assert_ne!(grpc_code(class), Code::Ok);
            let code = http_code(class).as_u16();
            assert!((400..600).contains(&code), "{class}: {code}");
            assert_eq!(worth_retrying(class), matches!(code, 429 | 503), "{class}");
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let error = QueryError::new(ErrorClass::User, "ü".repeat(5000));
        let message = from_status(&to_status(&error)).message;
        assert!(message.starts_with("üü") && message.len() < 2200);
    }
}
