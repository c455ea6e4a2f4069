//! `DoPut`: statements that change something, and values for prepared statements.

use arrow::array::RecordBatch;
use arrow_flight::sql::{
    Command, CommandPreparedStatementQuery, DoPutPreparedStatementResult, DoPutUpdateResult,
};
use arrow_flight::{FlightData, PutResult};
use futures::TryStreamExt;
use paceline_model::QueryError;
use prost::Message;
use tonic::Streaming;
use tonic::metadata::MetadataMap;

use super::prepared::Prepared;
use super::session::CallSession;
use super::{FlightSql, command, unsupported, user};
use crate::counted::count;
use crate::parameters::{self, MAX_BYTES};
use crate::service::{Origin, ResultStream, Statement};
use crate::status::from_status;

/// What Flight SQL says for "not known".
const ROWS_UNKNOWN: i64 = -1;

impl FlightSql {
    pub(super) async fn put(
        &self,
        mut messages: Streaming<FlightData>,
        metadata: &MetadataMap,
    ) -> Result<PutResult, QueryError> {
        let first = next(&mut messages).await?;
        let (first, descriptor) = first
            .and_then(|mut first| {
                let descriptor = first.flight_descriptor.take()?;
                Some((first, descriptor))
            })
            .ok_or_else(|| user("the first message of a DoPut must have a descriptor"))?;
        let app_metadata = match command::of_descriptor(&descriptor)? {
            Command::CommandStatementUpdate(update) => {
                command::no_transaction(update.transaction_id.as_deref())?;
                let call = CallSession::read(metadata)?;
                let mut statement = Statement::new(update.query, call.settings, Origin::FlightSql);
                statement.idempotency_key = call.idempotency_key;
                let record_count = self.update(statement).await?;
                DoPutUpdateResult { record_count }.encode_to_vec()
            }
            Command::CommandPreparedStatementUpdate(update) => {
                let mut prepared = Prepared::decode(&update.prepared_statement_handle)?;
                if let Some(values) = bound(first, messages).await? {
                    prepared.parameters = Some(values);
                }
                let statement = prepared.statement(CallSession::read(metadata)?);
                let record_count = self.update(statement).await?;
                DoPutUpdateResult { record_count }.encode_to_vec()
            }
            Command::CommandPreparedStatementQuery(query) => {
                bind(&query, bound(first, messages).await?)?.encode_to_vec()
            }
            Command::CommandStatementIngest(_) => {
                return Err(unsupported(
                    "bulk ingestion is not built; write files and CREATE EXTERNAL TABLE over them",
                ));
            }
            other => {
                let name = command::name(&other);
                return Err(unsupported(format!("a DoPut cannot carry a {name}")));
            }
        };
        Ok(PutResult {
            app_metadata: app_metadata.into(),
        })
    }

    /// Runs the statement to its end; returns how many rows it changed.
    async fn update(&self, statement: Statement) -> Result<i64, QueryError> {
        let submitted = self.service.submit(statement).await?;
        let counted = drain(self.service.results(&submitted.ticket).await?).await?;
        Ok(submitted.rows_affected.or(counted).unwrap_or(ROWS_UNKNOWN))
    }
}

/// Reads a result to its end. The count of rows written, if that is what it holds.
async fn drain(mut result: ResultStream) -> Result<Option<i64>, QueryError> {
    let mut counted = None;
    while let Some(batch) = result.batches.try_next().await? {
        counted = counted.or_else(|| count(&batch));
    }
    Ok(counted)
}

/// The handle of the statement with its values; clients use it from then on.
fn bind(
    query: &CommandPreparedStatementQuery,
    values: Option<RecordBatch>,
) -> Result<DoPutPreparedStatementResult, QueryError> {
    let mut prepared = Prepared::decode(&query.prepared_statement_handle)?;
    prepared.parameters = values;
    Ok(DoPutPreparedStatementResult {
        prepared_statement_handle: Some(prepared.encode()?),
    })
}

/// The values that a stream of messages brings: none if it has no batch.
async fn bound(
    first: FlightData,
    mut messages: Streaming<FlightData>,
) -> Result<Option<RecordBatch>, QueryError> {
    let mut kept = Vec::new();
    let mut bytes = 0;
    let mut message = Some(first);
    while let Some(current) = message {
        bytes += current.data_header.len() + current.data_body.len();
        if bytes > MAX_BYTES {
            return Err(user(format!(
                "the bound parameters take more than {MAX_BYTES} bytes; bind one row"
            )));
        }
        // The message that only brought the descriptor is empty.
        if !current.data_header.is_empty() {
            kept.push(current);
        }
        message = next(&mut messages).await?;
    }
    match kept.len() {
        0 | 1 => Ok(None),
        _ => parameters::decode(&kept).map(Some),
    }
}

async fn next(messages: &mut Streaming<FlightData>) -> Result<Option<FlightData>, QueryError> {
    messages.message().await.map_err(|e| from_status(&e))
}
