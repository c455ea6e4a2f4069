//! Giving out results: waiting for them, reading them from where they lie, reading on when a part
//! had to be made again.

mod ipc;
mod parts;
mod remote;

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use paceline_frontend::Ticket;
use paceline_model::{QueryError, QueryId};
use tokio::sync::watch;

use crate::driver::Driver;
use crate::record::ResultState;
use crate::replay::changed;
use crate::service::Service;
use parts::Parts;

pub(crate) use ipc::{from_ipc, to_ipc};
pub(crate) use remote::rows_elsewhere;

/// Somebody who waits for a query's result or reads it. As long as it lives, the result is kept and
/// the query is not held for abandoned.
#[derive(Debug)]
pub(crate) struct Reading {
    driver: Arc<Driver>,
    pub(crate) query: QueryId,
    pub(crate) schema: SchemaRef,
    state: watch::Receiver<ResultState>,
}

impl Reading {
    /// None if the query is not known here.
    pub(crate) fn begin(driver: &Arc<Driver>, query: QueryId) -> Option<Self> {
        let (schema, state) = driver.with_record(&query, |record| {
            record.readers += 1;
            (Arc::clone(&record.schema), record.watch())
        })?;
        Some(Reading {
            driver: Arc::clone(driver),
            query,
            schema,
            state,
        })
    }

    /// The list of files that a write left. None if there is no such write here.
    pub(crate) fn of_manifest(driver: &Arc<Driver>, query: QueryId) -> Option<Self> {
        let state = driver.with_record(&query, |record| {
            record.write.as_ref()?;
            record.readers += 1;
            Some(record.watch_manifest())
        })??;
        Some(Reading {
            driver: Arc::clone(driver),
            query,
            schema: paceline_plan::manifest_schema(),
            state,
        })
    }

    /// Waits until the result can be read.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn complete(&self) -> Result<ResultState, QueryError> {
        self.wait(|state| !matches!(state, ResultState::Pending))
            .await
    }

    /// Waits until the result can be read in a later version than this.
    async fn after(&self, known: u32) -> Result<ResultState, QueryError> {
        self.wait(|state| match state {
            ResultState::Pending => false,
            ResultState::Ready { version, .. } => *version > known,
            ResultState::Rows(_) | ResultState::Failed(_) | ResultState::Moved => true,
        })
        .await
    }

    async fn wait(
        &self,
        ready: impl FnMut(&ResultState) -> bool,
    ) -> Result<ResultState, QueryError> {
        let mut state = self.state.clone();
        let state = state.wait_for(ready).await.map(|state| state.clone());
        match state {
            Ok(ResultState::Failed(error)) => Err(error),
            Ok(state) => Ok(state),
            // Its record is another one by now: the query was taken over, and came back.
            Err(_) if self.driver.with_record(&self.query, |_| ()).is_some() => Err(changed()),
            // The record was taken off while somebody read it: that is not done.
            Err(_) => Err(crate::peers::unknown(self.query)),
        }
    }

    fn newest(&self) -> ResultState {
        self.state.borrow().clone()
    }

    /// It was read to its end.
    pub(crate) fn consumed(&self) {
        self.driver.consumed(self.query);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.driver.with_record(&self.query, |record| {
            record.readers = record.readers.saturating_sub(1);
            record.idle_since = Instant::now();
        });
    }
}

/// The rows of a query that is driven here; they begin to come when the result is complete. If the
/// query moves away before that, they come from where it moved to.
pub(crate) fn rows(
    service: Service,
    reading: Reading,
    ticket: Ticket,
) -> BoxStream<'static, Result<RecordBatch, QueryError>> {
    let rows = stream::once(async move {
        let batches: BoxStream<'static, Result<RecordBatch, QueryError>> =
            match reading.complete().await? {
                ResultState::Rows(batches) => {
                    let all: Vec<_> = batches.iter().cloned().map(Ok).collect();
                    reading.consumed();
                    stream::iter(all).boxed()
                }
                ready @ ResultState::Ready { .. } => {
                    let parts = Parts::new(Arc::clone(&service.shared), reading, ready);
                    stream::try_unfold(parts, |mut parts| async move {
                        let batch = parts.next().await?;
                        Ok(batch.map(|batch| (batch, parts)))
                    })
                    .boxed()
                }
                ResultState::Moved => {
                    let result = service.find(&ticket).await?;
                    // The reader is counted for as long as it reads through this scheduler.
                    let held = move |batch| {
                        let _ = &reading;
                        batch
                    };
                    result.batches.map(held).boxed()
                }
                // `complete` waits for the one and fails with the other.
                ResultState::Pending | ResultState::Failed(_) => stream::empty().boxed(),
            };
        Ok::<_, QueryError>(batches)
    });
    rows.try_flatten().boxed()
}

#[cfg(test)]
mod tests {
    use paceline_model::{Epoch, ErrorClass};
    use paceline_proto::state::Known;

    use super::*;
    use crate::testing::{outputs, planned, shared};
    use crate::written;

    /// It was taken over, and this scheduler became its next owner, under another id.
    #[tokio::test]
    async fn who_waits_for_a_part_of_a_query_that_came_back_is_told_to_ask_again() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let mut record = planned(1);
        let (query, graph) = (
            record.query,
            record.plan.as_ref().map(|p| Arc::clone(&p.graph)),
        );
        let known = Known {
            statement: written::statement(&record),
            ..Known::default()
        };
        record.settle_result(&outputs(1), false, Instant::now());
        shared.driver.submit(record, None);
        let reading = Reading::begin(&shared.driver, query).unwrap();
        let lost = reading.after(0);
        shared.driver.fence(|identity| {
            identity.renew();
        });
        let legacy = written::legacy(known);
        shared.driver.adopt(query, Epoch(1), graph.unwrap(), legacy);
        let told = lost.await.map(drop).unwrap_err();
        assert_eq!(told.class, ErrorClass::Retryable, "{told}");
        assert!(told.message.contains("same ticket"), "{told}");
        shared.stop.cancel();
    }
}
