//! Batches as Arrow IPC streams, in which parts of results are kept and travel.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use paceline_model::{ErrorClass, QueryError};

/// Reads an Arrow IPC stream.
///
/// # Errors
/// If the bytes are none.
pub(crate) fn from_ipc(bytes: &Bytes) -> Result<Vec<RecordBatch>, QueryError> {
    StreamReader::try_new(Cursor::new(bytes.as_ref()), None)
        .and_then(|reader| reader.collect())
        .map_err(|e| broken(&e))
}

/// Writes an Arrow IPC stream.
///
/// # Errors
/// If the batches are not of that schema.
pub(crate) fn to_ipc(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Bytes, QueryError> {
    let write = || {
        let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
        for batch in batches {
            writer.write(batch)?;
        }
        writer.finish()?;
        writer.into_inner()
    };
    write().map(Bytes::from).map_err(|e| broken(&e))
}

fn broken(error: &arrow::error::ArrowError) -> QueryError {
    QueryError::new(
        ErrorClass::Bug,
        format!("a result cannot be read or written as an Arrow stream: {error}"),
    )
}
