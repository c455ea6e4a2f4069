//! Results that clients of other schedulers read: where they lie is told, and they are kept for as long as
//! they are read. What lies on executors is read from there, by whoever gives it out, and never here.

use std::iter;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use paceline_model::{OutputLocation, QueryError, QueryId, StageId};
use paceline_proto::cluster::read_response::Message;
use paceline_proto::{OutputTable, cluster, error_to_failed, query_id};
use tonic::Status;

use crate::peers::unknown;
use crate::record::{Part, QueryRecord, ResultState};
use crate::results::{self, Reading};
use crate::shared::Shared;

/// Up to so many bytes of a result go with the answer that it is complete. More takes a read of its own.
const SMALL: usize = 4 << 20;

/// What is said to whoever reads.
pub(crate) type Messages = BoxStream<'static, Result<cluster::ReadResponse, Status>>;

/// A complete result.
struct Lent {
    schema: Bytes,
    stage: StageId,
    /// The parts that are here.
    here: Vec<cluster::InlinePart>,
    /// Where the others are.
    elsewhere: Vec<OutputLocation>,
}

impl Lent {
    fn of(reading: &Reading, result: ResultState) -> Result<Self, QueryError> {
        let mut lent = Lent {
            schema: paceline_plan::schema_to_ipc(&reading.schema).into(),
            stage: StageId(0),
            here: Vec::new(),
            elsewhere: Vec::new(),
        };
        match result {
            ResultState::Rows(batches) => {
                let ipc = results::to_ipc(&reading.schema, &batches)?;
                lent.here.push(cluster::InlinePart { task: 0, ipc });
            }
            ResultState::Ready { stage, parts, .. } => {
                lent.stage = stage;
                for (task, part) in (0..).zip(parts.iter()) {
                    match part {
                        Part::Remote(at) => lent.elsewhere.push(at.clone()),
                        Part::Inline(bytes) => lent.here.push(cluster::InlinePart {
                            task,
                            ipc: bytes.clone(),
                        }),
                    }
                }
            }
            // Whoever asks looks on.
            ResultState::Moved => return Err(unknown(reading.query)),
            // It is complete, and did not fail.
            ResultState::Pending | ResultState::Failed(_) => {}
        }
        Ok(lent)
    }

    /// Whether an answer has room for all of it.
    fn is_small(&self) -> bool {
        let bytes: usize = self.here.iter().map(|part| part.ipc.len()).sum();
        self.elsewhere.is_empty() && bytes <= SMALL
    }

    /// Where the parts lie that are not here.
    fn location(&self) -> cluster::ResultLocation {
        let mut table = OutputTable::default();
        table.add(self.stage, &self.elsewhere);
        cluster::ResultLocation {
            schema: self.schema.clone(),
            stage: self.stage.0,
            executors: table.executors,
            outputs: table.stages.into_iter().flat_map(|s| s.outputs).collect(),
            ..cluster::ResultLocation::default()
        }
    }
}

/// Answers another scheduler where a result lies, once it is complete.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    query: QueryId,
) -> Result<cluster::ResultLocation, QueryError> {
    let reading = Reading::begin(&shared.driver, query).ok_or(unknown(query))?;
    let lent = Lent::of(&reading, reading.complete().await?)?;
    let mut location = cluster::ResultLocation {
        schema: lent.schema.clone(),
        ..cluster::ResultLocation::default()
    };
    if lent.is_small() {
        location.inline_parts = lent.here;
        // All of it is on its way.
        reading.consumed();
    } else {
        location.read_at = shared.driver.me().to_string();
    }
    Ok(location)
}

/// Lends another scheduler a result for as long as it listens.
///
/// # Errors
/// That the query is not driven here, or that the request cannot be read.
pub(crate) async fn lend(
    shared: &Arc<Shared>,
    request: &cluster::ReadRequest,
) -> Result<Messages, Status> {
    let query = query_id(&request.query).map_err(|e| Status::invalid_argument(e.to_string()))?;
    let reading = Reading::begin(&shared.driver, query);
    let reading = reading.ok_or_else(|| Status::not_found(unknown(query).message))?;
    let result = reading.complete().await;
    let lent = match result.and_then(|result| Lent::of(&reading, result)) {
        Ok(lent) => lent,
        Err(error) => {
            let failed = Message::Failed(error_to_failed(&error));
            return Ok(stream::iter([said(failed)]).boxed());
        }
    };
    let mut location = lent.location();
    location.parts_to_come = u32::try_from(lent.here.len()).unwrap_or(u32::MAX);
    let parts = lent.here.into_iter().map(Message::Part);
    let messages = iter::once(Message::Location(location)).chain(parts);
    let kept = stream::once(keep(Arc::clone(shared), reading));
    let nothing = kept.filter_map(|()| async { None::<Result<cluster::ReadResponse, Status>> });
    Ok(stream::iter(messages.map(said)).chain(nothing).boxed())
}

fn said(message: Message) -> Result<cluster::ReadResponse, Status> {
    let message = Some(message);
    Ok(cluster::ReadResponse { message })
}

/// Keeps what is read until another scheduler drives the query: then that one does.
async fn keep(shared: Arc<Shared>, reading: Reading) {
    let look = |record: &mut QueryRecord| (!record.has_left()).then(|| record.watch_ends());
    loop {
        let here = shared.driver.with_record(&reading.query, look).flatten();
        let Some(mut ends) = here else { return };
        // It ends with its record.
        if ends.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use arrow::array::RecordBatch;
    use futures::FutureExt;
    use paceline_model::{Attempt, TaskId};
    use paceline_proto::query_bytes;

    use super::*;
    use crate::testing::{outputs, planned, shared};

    /// A finished query; of what its two tasks left one part is here, and nobody reaches the other one.
    fn in_two_places(shared: &Shared) -> QueryId {
        let mut record = planned(2);
        let query = record.query;
        let none: &[RecordBatch] = &[];
        let part = results::to_ipc(&record.schema, none).unwrap();
        record.keep_inline(TaskId(0), Attempt(0), part);
        record.settle_result(&outputs(2), false, Instant::now());
        shared.driver.submit(record, None);
        query
    }

    fn readers(shared: &Shared, query: QueryId) -> usize {
        let readers = shared.driver.with_record(&query, |record| record.readers);
        readers.unwrap()
    }

    #[tokio::test]
    async fn where_a_result_lies_is_told_without_reading_it_and_it_is_kept_while_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let me = shared.driver.me();
        let query = in_two_places(&shared);
        let told = answer(&shared, query).await.unwrap();
        assert_eq!(told.read_at, me.as_str());
        assert!(told.outputs.is_empty() && told.inline_parts.is_empty());
        assert_eq!(readers(&shared, query), 0);

        let request = cluster::ReadRequest {
            query: query_bytes(query),
            to: me.to_string(),
        };
        let mut messages = lend(&shared, &request).await.unwrap();
        let mut next = async || messages.next().await.unwrap().unwrap().message;
        let Some(Message::Location(location)) = next().await else {
            panic!("it says first where it lies");
        };
        assert_eq!((location.outputs.len(), location.parts_to_come), (1, 1));
        assert_eq!(location.outputs[0].task, 1);
        let part = next().await;
        assert!(matches!(part, Some(Message::Part(part)) if part.task == 0));
        assert!(messages.next().now_or_never().is_none(), "it stays open");
        assert_eq!(readers(&shared, query), 1);
        drop(messages);
        assert_eq!(readers(&shared, query), 0);
        shared.stop.cancel();
    }

    #[tokio::test]
    async fn who_gives_its_queries_away_keeps_nothing_for_others() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let query = in_two_places(&shared);
        let request = cluster::ReadRequest {
            query: query_bytes(query),
            to: shared.driver.me().to_string(),
        };
        let messages = lend(&shared, &request).await.unwrap();
        let mut rest = messages.skip(2);
        assert!(rest.next().now_or_never().is_none(), "it stays open");
        shared.driver.close();
        assert!(rest.next().await.is_none());
        shared.stop.cancel();
    }

    #[tokio::test]
    async fn a_small_result_goes_with_the_answer_and_was_read_then() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let record = crate::testing::record().answered(vec![], Instant::now());
        let query = record.query;
        shared.driver.submit(record, None);
        let told = answer(&shared, query).await.unwrap();
        assert_eq!(told.inline_parts.len(), 1);
        assert!(told.read_at.is_empty());
        let consumed = shared.driver.with_record(&query, |record| record.consumed);
        assert_eq!(consumed, Some(true));
        shared.stop.cancel();
    }
}
