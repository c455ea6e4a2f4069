//! DataFusion's errors, by what can be done about them.

use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use object_store::Error as StoreError;
use paceline_model::{ErrorClass, QueryError};

/// Carries one of our errors through DataFusion; [`classify`] finds it again, however often it was
/// wrapped on the way.
pub fn into_datafusion(error: QueryError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What an error of DataFusion means.
///
/// I/O on storage may succeed next time; a file that says something wrong, a value out of range or
/// a statement that makes no sense will not.
pub fn classify(error: &DataFusionError) -> QueryError {
    if let Some(own) = find_own(error) {
        return own.clone();
    }
    let class = class_of(error);
    QueryError::new(class, message(error))
}

/// The message without DataFusion's names for its error variants and without backtraces.
fn message(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Context(context, inner) => format!("{context}: {}", message(inner)),
        DataFusionError::Diagnostic(_, inner) => message(inner),
        DataFusionError::Shared(inner) => message(inner),
        DataFusionError::Collection(errors) => {
            errors.iter().map(message).collect::<Vec<_>>().join("; ")
        }
        other => other.strip_backtrace(),
    }
}

fn find_own(error: &DataFusionError) -> Option<&QueryError> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(own) = current.downcast_ref::<QueryError>() {
            return Some(own);
        }
        // Arrow and DataFusion hide what they wrap from `source` in some variants.
        next = match current.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::ArrowError(inner, _)) => Some(inner.as_ref()),
            Some(DataFusionError::Collection(all)) => all.first().map(|e| e as _),
            Some(DataFusionError::Shared(inner)) => Some(inner.as_ref()),
            _ => match current.downcast_ref::<ArrowError>() {
                Some(ArrowError::ExternalError(inner)) => Some(inner.as_ref()),
                _ => current.source(),
            },
        };
    }
    None
}

fn class_of(error: &DataFusionError) -> ErrorClass {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            class_of(inner)
        }
        DataFusionError::Shared(inner) => class_of(inner),
        DataFusionError::Collection(all) => all.first().map_or(ErrorClass::Bug, class_of),
        DataFusionError::ArrowError(inner, _) => arrow(inner),
        DataFusionError::ParquetError(inner) => parquet(inner),
        DataFusionError::ObjectStore(inner) => object_store(inner),
        DataFusionError::IoError(inner) => io(inner),
        DataFusionError::ResourcesExhausted(_) => ErrorClass::Resource,
        DataFusionError::NotImplemented(_) => ErrorClass::Unsupported,
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::Execution(_) => ErrorClass::User,
        DataFusionError::ExecutionJoin(_) => ErrorClass::Retryable,
        DataFusionError::External(inner) => external(inner.as_ref()),
        DataFusionError::Internal(_) | DataFusionError::Substrait(_) => ErrorClass::Bug,
        _ => ErrorClass::Bug,
    }
}

fn external(error: &(dyn std::error::Error + 'static)) -> ErrorClass {
    if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        class_of(inner)
    } else if let Some(inner) = error.downcast_ref::<ArrowError>() {
        arrow(inner)
    } else if let Some(inner) = error.downcast_ref::<ParquetError>() {
        parquet(inner)
    } else if let Some(inner) = error.downcast_ref::<StoreError>() {
        object_store(inner)
    } else if let Some(inner) = error.downcast_ref::<std::io::Error>() {
        io(inner)
    } else {
        ErrorClass::User
    }
}

fn arrow(error: &ArrowError) -> ErrorClass {
    match error {
        ArrowError::ExternalError(inner) => external(inner.as_ref()),
        ArrowError::IoError(_, inner) => io(inner),
        ArrowError::MemoryError(_) => ErrorClass::Resource,
        ArrowError::NotYetImplemented(_) => ErrorClass::Unsupported,
        _ => ErrorClass::User,
    }
}

fn parquet(error: &ParquetError) -> ErrorClass {
    match error {
        ParquetError::External(inner) => external(inner.as_ref()),
        ParquetError::NYI(_) => ErrorClass::Unsupported,
        _ => ErrorClass::User,
    }
}

fn object_store(error: &StoreError) -> ErrorClass {
    match error {
        StoreError::NotFound { .. }
        | StoreError::InvalidPath { .. }
        | StoreError::PermissionDenied { .. }
        | StoreError::Unauthenticated { .. }
        | StoreError::UnknownConfigurationKey { .. }
        | StoreError::NotSupported { .. } => ErrorClass::User,
        _ => ErrorClass::Retryable,
    }
}

fn io(error: &std::io::Error) -> ErrorClass {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::OutOfMemory => {
            ErrorClass::Resource
        }
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => ErrorClass::User,
        _ => ErrorClass::Retryable,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn own() -> QueryError {
        QueryError::new(ErrorClass::OutputLost, "gone")
    }

    #[test]
    fn our_errors_are_found_through_every_wrapping() {
        let wrapped = [
            into_datafusion(own()),
            into_datafusion(own()).context("while joining"),
            DataFusionError::ArrowError(
                Box::new(ArrowError::ExternalError(Box::new(into_datafusion(own())))),
                None,
            ),
            DataFusionError::Shared(Arc::new(into_datafusion(own()))),
            DataFusionError::External(Box::new(into_datafusion(own()))),
            DataFusionError::Collection(vec![into_datafusion(own())]),
        ];
        for error in wrapped {
            assert_eq!(classify(&error), own(), "{error:?}");
        }
    }

    #[test]
    fn classes_say_who_can_do_something() {
        let cases = [
            (
                DataFusionError::ResourcesExhausted("full".into()),
                ErrorClass::Resource,
            ),
            (
                DataFusionError::ArrowError(
                    Box::new(ArrowError::ArithmeticOverflow("i64".into())),
                    None,
                ),
                ErrorClass::User,
            ),
            (
                DataFusionError::IoError(std::io::ErrorKind::ConnectionReset.into()),
                ErrorClass::Retryable,
            ),
            (
                DataFusionError::ParquetError(Box::new(ParquetError::EOF("footer".into()))),
                ErrorClass::User,
            ),
            (
                DataFusionError::Plan("no such table".into()),
                ErrorClass::User,
            ),
            (
                DataFusionError::NotImplemented("MERGE".into()),
                ErrorClass::Unsupported,
            ),
        ];
        for (error, class) in cases {
            assert_eq!(classify(&error.context("somewhere")).class, class);
        }
    }
}
