//! What is told of writes, also when nothing but their outcome is left.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::SchemaRef;
use paceline_frontend::{ResultStream, Submitted, Ticket};
use paceline_model::{ErrorClass, QueryError, QueryId};
use paceline_plan::count_schema;
use paceline_store::Ending;

use crate::peers::unknown;
use crate::record::QueryRecord;
use crate::service::{Service, submitted};
use crate::shared::Shared;

/// What the outcome of a write carries: how many rows it wrote.
pub(super) const ROWS: &str = "rows_written";

/// Notes in the outcome of a query that it wrote, if it did.
pub(crate) fn note_write(shared: &Shared, query: QueryId, result: &mut serde_json::Value) {
    let written = |record: &mut QueryRecord| record.write.as_ref().map(|_| record.rows_written);
    if let Some(rows) = shared.driver.with_record(&query, written).flatten() {
        result[ROWS] = rows.into();
    }
}

/// Whether an outcome is that of a write.
pub(crate) fn is_write(ending: &Ending) -> bool {
    ending.result.get(ROWS).is_some()
}

/// How many rows an outcome says were written; 0 of a write that failed, and of what is no write.
pub(crate) fn rows_in(ending: &Ending) -> u64 {
    let rows = ending.result.get(ROWS).and_then(serde_json::Value::as_u64);
    rows.unwrap_or_default()
}

/// What a write answers.
pub(super) fn count_rows(rows: u64) -> Vec<RecordBatch> {
    let column: ArrayRef = Arc::new(UInt64Array::from(vec![rows]));
    // One column of the one type that the schema has.
    RecordBatch::try_new(count_schema(), vec![column])
        .into_iter()
        .collect()
}

/// How many rows a write wrote, or why none, by its outcome.
pub(super) fn rows_of(ending: &Ending) -> Result<u64, QueryError> {
    if let Some(error) = &ending.error {
        return Err(error.clone());
    }
    let rows = ending.result.get(ROWS).and_then(serde_json::Value::as_u64);
    rows.ok_or_else(|| QueryError::new(ErrorClass::Bug, "the outcome of a write has no count"))
}

impl Service {
    /// The answer of a write that nobody drives any more.
    ///
    /// # Errors
    /// Why it came to nothing, or that nobody knows it.
    pub(crate) async fn past_answer(&self, query: QueryId) -> Result<ResultStream, QueryError> {
        match self.outcome(query).await? {
            Some(ending) if is_write(&ending) => {
                let rows = rows_of(&ending)?;
                Ok(ResultStream::of_batches(count_schema(), count_rows(rows)))
            }
            _ => Err(unknown(query)),
        }
    }

    /// What a client gets to hold of a query that has its outcome, and whose result has these columns.
    pub(crate) fn ended_before(
        &self,
        query: QueryId,
        ending: &Ending,
        schema: SchemaRef,
    ) -> Submitted {
        let ticket = Ticket {
            query,
            accepted_by: ending.by.clone(),
            catalog: self.shared.catalog.version(),
            afresh: None,
            made: false,
        };
        submitted(query, schema, ticket, None)
    }
}
