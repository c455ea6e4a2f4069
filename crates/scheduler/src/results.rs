//! Giving out results: waiting for them, reading them from where they lie, reading on when a part
//! had to be made again.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use paceline_exchange::{InputReader, ReadError, StageOutputs, Which};
use paceline_frontend::Ticket;
use paceline_model::{ErrorClass, LostOutput, OutputLocation, QueryError, QueryId, StageId};
use tokio::sync::watch;

use crate::driver::Driver;
use crate::record::{Part, ResultState};
use crate::replay::{Delivered, Replay, changed};
use crate::service::Service;
use crate::shared::Shared;

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

/// Reads the parts of a result one after the other.
struct Parts {
    shared: Arc<Shared>,
    reading: Reading,
    /// What is read; it outlives the query's stay at this scheduler.
    ready: ResultState,
    next_part: usize,
    version: u32,
    current: Option<Current>,
    /// Of the current part; earlier parts are not needed any more.
    delivered: Delivered,
    any: bool,
}

struct Current {
    batches: BoxStream<'static, Result<RecordBatch, ReadFailure>>,
    replay: Replay,
    /// Whether the part could be lost under the reader.
    remote: bool,
}

enum ReadFailure {
    Lost(LostOutput),
    Other(QueryError),
}

impl Parts {
    fn new(shared: Arc<Shared>, reading: Reading, ready: ResultState) -> Self {
        Parts {
            shared,
            reading,
            ready,
            next_part: 0,
            version: 0,
            current: None,
            delivered: Delivered::default(),
            any: false,
        }
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        loop {
            if self.current.is_none() && !self.open()? {
                self.reading.consumed();
                return Ok(None);
            }
            let Some(current) = &mut self.current else {
                continue;
            };
            match current.batches.next().await {
                Some(Ok(batch)) => {
                    let batch = current.replay.pass(batch)?;
                    if batch.num_rows() == 0 {
                        continue;
                    }
                    if current.remote {
                        self.delivered.add(&batch)?;
                    }
                    self.any = true;
                    return Ok(Some(batch));
                }
                None => {
                    current.replay.end()?;
                    self.current = None;
                    self.delivered = Delivered::default();
                    self.next_part += 1;
                }
                Some(Err(ReadFailure::Other(error))) => return Err(error),
                Some(Err(ReadFailure::Lost(lost))) => self.make_again(lost).await?,
            }
        }
    }

    /// False if there is no further part.
    fn open(&mut self) -> Result<bool, QueryError> {
        if let newer @ ResultState::Ready { .. } = self.reading.newest() {
            self.ready = newer;
        }
        let ResultState::Ready {
            version,
            valid_from,
            stage,
            parts,
        } = self.ready.clone()
        else {
            return Ok(false);
        };
        if self.any && valid_from > self.version {
            return Err(changed());
        }
        self.version = version;
        let Some(part) = parts.get(self.next_part) else {
            return Ok(false);
        };
        let batches = match part {
            Part::Inline(bytes) => stream::iter(from_ipc(bytes)?).map(Ok).boxed(),
            Part::Remote(location) => remote(
                &self.shared,
                self.reading.query,
                &self.reading.schema,
                stage,
                vec![location.clone()],
            )?,
        };
        self.current = Some(Current {
            batches,
            replay: Replay::of(self.delivered),
            remote: matches!(part, Part::Remote(_)),
        });
        Ok(true)
    }

    /// Has a lost part made again and waits for it.
    async fn make_again(&mut self, lost: LostOutput) -> Result<(), QueryError> {
        tracing::info!(query = %self.reading.query, ?lost, "a part of the result is lost");
        self.current = None;
        let moved_on = matches!(
            self.reading.newest(),
            ResultState::Ready { version, .. } if version > self.version
        );
        if !moved_on && !self.reading.driver.result_lost(self.reading.query, lost) {
            // Another scheduler drives it, for who asks there.
            return Err(changed());
        }
        match self.reading.after(self.version).await? {
            // The next owner makes it again, for who asks there.
            ResultState::Moved => Err(changed()),
            _ => Ok(()),
        }
    }
}

fn remote(
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

#[cfg(test)]
mod tests {
    use paceline_model::Epoch;
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
