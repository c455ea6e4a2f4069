//! The end of a query that runs by itself: its result is stored, then its one outcome is created, and
//! only then its owner lets go of it. Whatever dies in between, another owner does the same again, and
//! the outcome that exists counts.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use paceline_model::{ErrorClass, QueryError, QueryId, QueryState, ResultSize};
use paceline_store::{Ending, ResultManifest};

use crate::agreement;
use crate::enqueued::{STATUS, away};
use crate::record::QueryRecord;
use crate::requested::note_request;
use crate::results::{self, Reading, to_ipc};
use crate::service::Service;
use crate::shared::Shared;
use crate::writing;
use crate::written::{millis, unix_millis};

/// Rows in memory of one part of a stored result.
const PART_BYTES: usize = 8 << 20;

/// For how long each write of a result is repeated while the store is away.
const PATIENCE: Duration = Duration::from_secs(600);

/// After a failure of the store.
const PAUSE: Duration = Duration::from_millis(500);

/// Concludes a query however long the store is away, for as long as the query is this scheduler's own.
pub(crate) async fn conclude_in_time(shared: Arc<Shared>, query: QueryId) {
    let service = Service::new(Arc::clone(&shared));
    loop {
        let mine = shared
            .driver
            .with_record(&query, |record| !record.is_moved());
        if mine != Some(true) {
            return;
        }
        match conclude(&service, query).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%query, %error, "its outcome is not durable yet"),
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the store is away: the query has ended, and its outcome waits"
        )]
        tokio::time::sleep(PAUSE).await;
    }
}

/// Stores what came of a query and gives it its outcome.
///
/// # Errors
/// If that is not known to be durable; it may be tried again.
pub(crate) async fn conclude(service: &Service, query: QueryId) -> Result<(), QueryError> {
    let shared = &service.shared;
    writing::decide(service, query).await?;
    let kept = shared.driver.with_record(&query, |record| record.kept);
    let Some(ttl) = kept.flatten() else {
        writing::finish(service, query);
        return Ok(());
    };
    let (manifest, error) = match store(service, query).await {
        Ok(manifest) => (manifest, None),
        Err(Broken::Query(error)) => (None, Some(error)),
        Err(Broken::Store(error)) => return Err(error),
    };
    let expires = unix_millis().saturating_add(millis(ttl));
    let manifest = manifest.map(|mut manifest| {
        manifest.expires_at_unix_ms = expires;
        manifest
    });
    let size = manifest.map(|manifest| ResultSize {
        rows: manifest.rows,
        pages: manifest.parts,
    });
    let ended = |record: &mut QueryRecord| record.ended_as(error);
    let ended = shared.driver.with_record(&query, ended);
    let me = shared.driver.me();
    let (Some((state, error)), Some(mut status)) = (ended, shared.driver.status(&query)) else {
        return Ok(());
    };
    // Nobody is told before it is durable, and then what the outcome says.
    (status.state, status.error, status.result) = (state, error, size);
    let mut result = manifest.map_or_else(|| serde_json::json!({}), ResultManifest::to_json);
    writing::note_write(shared, query, &mut result);
    note_request(shared, query, &mut result);
    result[STATUS] = serde_json::to_value(&status).unwrap_or_default();
    let ending = Ending {
        state: status.state,
        by: me,
        epoch: status.epoch,
        error: status.error,
        result,
    };
    let claims = &shared.journaling.claims;
    let outcome = claims.finish(query, &ending).await.map_err(|e| away(&e))?;
    agreement::check(shared, query, &ending, &outcome);
    let failed = outcome.state != QueryState::Finished;
    let conclude = |record: &mut QueryRecord| record.conclude(outcome);
    shared.driver.with_record(&query, conclude);
    if failed {
        writing::remove_leftovers(shared, query).await;
    }
    shared.driver.let_go(query);
    Ok(())
}

pub(crate) enum Broken {
    /// The query has no result, for good.
    Query(QueryError),
    /// It may have one yet.
    Store(QueryError),
}

/// Stores the rows of a query; none of a statement that has no columns.
async fn store(service: &Service, query: QueryId) -> Result<Option<ResultManifest>, Broken> {
    let shared = &service.shared;
    let about = |record: &mut QueryRecord| (record.epoch, record.ticket.clone());
    let (epoch, ticket) = match shared.driver.with_record(&query, about) {
        Some((epoch, Some(ticket))) => (epoch, ticket),
        _ => return Ok(None),
    };
    let Some(reading) = Reading::begin(&shared.driver, query) else {
        return Ok(None);
    };
    let schema = Arc::clone(&reading.schema);
    reading.complete().await.map_err(Broken::Query)?;
    let encoded = paceline_plan::schema_to_ipc(&schema).into();
    let mut writer = shared
        .journaling
        .results
        .write(query, epoch, encoded, PATIENCE);
    let mut rows = results::rows(service.clone(), reading, ticket);
    let mut part: Vec<RecordBatch> = Vec::new();
    loop {
        let batch = rows.try_next().await.map_err(read_failure)?;
        let more = batch.is_some();
        part.extend(batch);
        let bytes: usize = part.iter().map(RecordBatch::get_array_memory_size).sum();
        if !part.is_empty() && (!more || bytes >= PART_BYTES) {
            let count: usize = part.iter().map(RecordBatch::num_rows).sum();
            let encoded = to_ipc(&schema, &part).map_err(Broken::Query)?;
            let written = writer.write(count as u64, encoded).await;
            written.map_err(|e| Broken::Store(QueryError::new(e.class(), e.to_string())))?;
            part.clear();
        }
        if !more {
            break;
        }
    }
    let index = writer.finish().await;
    let index = index.map_err(|e| Broken::Store(QueryError::new(e.class(), e.to_string())))?;
    Ok(Some(ResultManifest::of(&index, epoch, 0)))
}

/// What is lost while it is read is made again, and read again from the start.
pub(crate) fn read_failure(error: QueryError) -> Broken {
    match error.class {
        ErrorClass::Retryable | ErrorClass::OutputLost | ErrorClass::Unavailable => {
            Broken::Store(error)
        }
        _ => Broken::Query(error),
    }
}

impl QueryRecord {
    /// What the query has come to; `unread` is why its result could not be stored. One that finished may have
    /// lost its result for good since: without it, it failed.
    fn ended_as(&self, unread: Option<QueryError>) -> (QueryState, Option<QueryError>) {
        let error = self.error.clone().or(unread);
        match self.state {
            QueryState::Finished if error.is_some() => (QueryState::Failed, error),
            state => (state, error),
        }
    }

    /// The query has its outcome. It need not be what came of it here: an earlier owner may have made
    /// it, and died before anybody heard of it.
    fn conclude(&mut self, outcome: Ending) {
        let manifest = ResultManifest::from_json(&outcome.result);
        self.stored = manifest.map(|manifest| ResultSize {
            rows: manifest.rows,
            pages: manifest.parts,
        });
        self.state = outcome.state;
        self.error = outcome.error;
        self.is_concluded = true;
        self.tell_of_end();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::testing::{outputs, planned};

    #[test]
    fn what_loses_its_result_before_that_is_stored_has_failed() {
        let now = Instant::now();
        let lost = QueryError::new(ErrorClass::OutputLost, "it cannot be made again");
        let mut finished = planned(1);
        finished.settle_result(&outputs(1), false, now);
        assert_eq!(finished.ended_as(None), (QueryState::Finished, None));
        let failed = (QueryState::Failed, Some(lost.clone()));
        assert_eq!(finished.ended_as(Some(lost.clone())), failed);
        // As the core says it of a query that has ended.
        finished.settle_failed(QueryState::Finished, lost.clone(), now);
        assert_eq!(finished.ended_as(Some(lost.clone())), failed);
        let mut cancelled = planned(1);
        cancelled.settle_failed(QueryState::Cancelled, lost.clone(), now);
        let (state, error) = cancelled.ended_as(None);
        assert_eq!((state, error), (QueryState::Cancelled, Some(lost)));
    }
}
