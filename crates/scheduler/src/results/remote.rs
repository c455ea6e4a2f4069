//! Rows that lie on executors.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use paceline_exchange::{InputReader, ReadError, StageOutputs, Which};
use paceline_model::{ErrorClass, LostOutput, OutputLocation, QueryError, QueryId, StageId};

use crate::shared::Shared;

/// Why rows do not come any more.
pub(super) enum ReadFailure {
    /// The output is lost, and may be made again.
    Lost(LostOutput),
    /// Anything else.
    Other(QueryError),
}

/// The rows of outputs that lie on executors.
pub(super) fn remote(
    shared: &Shared,
    query: QueryId,
    schema: &SchemaRef,
    stage: StageId,
    outputs: Vec<OutputLocation>,
) -> Result<BoxStream<'static, Result<RecordBatch, ReadFailure>>, QueryError> {
    let range = outputs.first().map(|at| at.partitions).unwrap_or_default();
    let inputs = HashMap::from([(
        stage,
        StageOutputs {
            schema: Arc::clone(schema),
            outputs,
            range,
        },
    )]);
    let reader = InputReader::new(
        None,
        shared.exchange_peers.clone(),
        None,
        query,
        inputs,
        shared.read_budget,
        shared.exchange_metrics.clone(),
    );
    let batches = reader
        .read(stage, Which::Whole)
        .map_err(|e| e.to_query_error())?;
    Ok(batches
        .map_err(|error| match error {
            ReadError::Lost { lost, .. } => ReadFailure::Lost(lost),
            other => ReadFailure::Other(other.to_query_error()),
        })
        .boxed())
}

/// The rows of outputs whose query is driven elsewhere.
pub(crate) fn rows_elsewhere(
    shared: &Shared,
    query: QueryId,
    schema: &SchemaRef,
    stage: StageId,
    outputs: Vec<OutputLocation>,
) -> Result<BoxStream<'static, Result<RecordBatch, QueryError>>, QueryError> {
    let batches = remote(shared, query, schema, stage, outputs)?;
    Ok(batches
        .map_err(|failure| match failure {
            ReadFailure::Other(error) => error,
            ReadFailure::Lost(lost) => QueryError::new(
                ErrorClass::Retryable,
                format!(
                    "executor {} was lost while the result was read from it: ask for the result \
                     again, with the same ticket",
                    lost.executor
                ),
            ),
        })
        .boxed())
}
