//! Results of queries that other schedulers drive, given out here.
//!
//! ```text
//!   owner: complete ──► small: all of it
//!                 └───► read there: parts, and where the others lie ──► executors
//!                                │
//!                 it is kept ────┴──► it was read, or its reader is gone
//! ```

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use paceline_frontend::ResultStream;
use paceline_model::{ErrorClass, QueryError, QueryId, SchedulerId, StageId};
use paceline_proto::cluster::ReadResponse;
use paceline_proto::cluster::cluster_client::ClusterClient;
use paceline_proto::cluster::forward_request::Operation;
use paceline_proto::cluster::forward_response::Answer;
use paceline_proto::cluster::read_response::Message;
use paceline_proto::{Malformed, cluster, failed_to_error, output_locations, query_bytes};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::finding::{self, Found};
use crate::record::Part;
use crate::results::{Reading, from_ipc, rows_elsewhere};
use crate::shared::Shared;
use crate::steps::pause;

/// How long the owner of a result may take to hear that it was read.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the owner of a query is asked for its result.
pub(crate) fn question() -> Operation {
    Operation::Result(cluster::Empty {})
}

/// Gives out a result of which its owner said where it lies. None if it does not lie there any more: then
/// its owner is to be asked again, whoever that is by then.
///
/// # Errors
/// Why there is no result.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    query: QueryId,
    mut at: cluster::ResultLocation,
) -> Result<Option<ResultStream>, QueryError> {
    let mut here = std::mem::take(&mut at.inline_parts);
    let mut kept = None;
    if !at.read_at.is_empty() {
        let owner = SchedulerId::new(at.read_at.as_str());
        let Some(mut loan) = Loan::from(shared, query, owner).await? else {
            pause().await;
            return Ok(None);
        };
        let Some(result) = loan.result().await? else {
            pause().await;
            return Ok(None);
        };
        (at, here) = result;
        kept = Some(Kept::begin(shared, loan));
    }
    let schema = paceline_plan::schema_from_ipc(&at.schema);
    let schema = schema.map_err(|e| paceline_plan::classify(&e))?;
    let rows = Rows {
        shared: Arc::clone(shared),
        query,
        schema: Arc::clone(&schema),
        stage: StageId(at.stage),
        parts: parts(&at, here)?.into_iter(),
        current: None,
        kept,
    };
    let batches = stream::try_unfold(rows, |mut rows| async move {
        let batch = rows.next().await?;
        Ok::<_, QueryError>(batch.map(|batch| (batch, rows)))
    });
    Ok(Some(ResultStream {
        schema,
        batches: batches.boxed(),
    }))
}

/// All parts, in the order of the tasks that made them.
fn parts(
    at: &cluster::ResultLocation,
    here: Vec<cluster::InlinePart>,
) -> Result<Vec<Part>, QueryError> {
    let outputs = output_locations(&at.outputs, &at.executors).map_err(malformed)?;
    let outputs = outputs.into_iter().map(|at| (at.task.0, Part::Remote(at)));
    let here = here.into_iter().map(|it| (it.task, Part::Inline(it.ipc)));
    let mut parts: Vec<(u32, Part)> = outputs.chain(here).collect();
    parts.sort_by_key(|(task, _)| *task);
    Ok(parts.into_iter().map(|(_, part)| part).collect())
}

fn malformed(error: Malformed) -> QueryError {
    QueryError::new(ErrorClass::Bug, error.to_string())
}

/// The rows of a result, one part after the other.
struct Rows {
    shared: Arc<Shared>,
    query: QueryId,
    schema: SchemaRef,
    stage: StageId,
    parts: std::vec::IntoIter<Part>,
    current: Option<BoxStream<'static, Result<RecordBatch, QueryError>>>,
    kept: Option<Kept>,
}

impl Rows {
    async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(batch) = current.try_next().await? {
                    return Ok(Some(batch));
                }
                self.current = None;
            }
            let Some(part) = self.parts.next() else {
                if let Some(kept) = self.kept.take() {
                    kept.was_read();
                }
                return Ok(None);
            };
            self.current = Some(match part {
                Part::Inline(bytes) => stream::iter(from_ipc(&bytes)?).map(Ok).boxed(),
                Part::Remote(at) => {
                    let (shared, at) = (&self.shared, vec![at]);
                    rows_elsewhere(shared, self.query, &self.schema, self.stage, at)?
                }
            });
        }
    }
}

/// A result that its owner keeps for as long as this is open.
struct Loan {
    query: QueryId,
    owner: SchedulerId,
    client: ClusterClient<Channel>,
    messages: Streaming<ReadResponse>,
}

impl Loan {
    /// None if the owner does not have it any more, or cannot be reached.
    async fn from(
        shared: &Shared,
        query: QueryId,
        owner: SchedulerId,
    ) -> Result<Option<Self>, QueryError> {
        let peers = shared.membership.peers();
        let Some(beacon) = peers.iter().find(|beacon| beacon.scheduler == owner) else {
            return Ok(None);
        };
        let mut client = shared.peers.client(&beacon.addresses.cluster)?;
        let request = cluster::ReadRequest {
            query: query_bytes(query),
            to: owner.to_string(),
        };
        let answered = client.read(request).await;
        match answered {
            Ok(messages) => Ok(Some(Loan {
                query,
                owner,
                client,
                messages: messages.into_inner(),
            })),
            Err(status) => gone(&owner, &status),
        }
    }

    /// Where the result lies, and the parts that its owner has. They are taken all at once: they are small,
    /// and their owner may die while the others are read.
    async fn result(
        &mut self,
    ) -> Result<Option<(cluster::ResultLocation, Vec<cluster::InlinePart>)>, QueryError> {
        let location = match self.next().await? {
            Some(Message::Location(location)) => location,
            Some(Message::Failed(failed)) => return Err(failed_to_error(failed)),
            Some(Message::Part(_)) | None => return Ok(None),
        };
        let mut here = Vec::new();
        for _ in 0..location.parts_to_come {
            match self.next().await? {
                Some(Message::Part(part)) => here.push(part),
                _ => return Ok(None),
            }
        }
        Ok(Some((location, here)))
    }

    async fn next(&mut self) -> Result<Option<Message>, QueryError> {
        let said = self.messages.message().await;
        match said {
            Ok(said) => Ok(said.and_then(|said| said.message)),
            Err(status) => gone(&self.owner, &status),
        }
    }

    /// Returns when the owner does not keep it any more.
    async fn ended(&mut self) {
        while let Ok(Some(_)) = self.messages.message().await {}
    }

    /// Tells the owner that it was read to its end.
    async fn was_read(mut self) {
        let request = cluster::ForwardRequest {
            query: query_bytes(self.query),
            operation: Some(Operation::Consumed(cluster::Empty {})),
            to: self.owner.to_string(),
        };
        // Unless it hears of it, it keeps the result for as long as one that nobody has read.
        let told = timeout(PATIENCE, self.client.forward(request)).await;
        if !matches!(told, Ok(Ok(_))) {
            tracing::debug!(owner = %self.owner, query = %self.query, "not told that it was read");
        }
    }
}

/// Whatever was asked for does not come from there: it may come from somewhere else. What is too large for a
/// message is so wherever it is asked for.
fn gone<T>(owner: &SchedulerId, status: &Status) -> Result<Option<T>, QueryError> {
    if let Some(error) = too_large(owner, status) {
        return Err(error);
    }
    tracing::debug!(%owner, %status, "a result is not there any more");
    Ok(None)
}

/// What is wrong if an answer was too large to be sent or taken in.
pub(crate) fn too_large(by: &SchedulerId, status: &Status) -> Option<QueryError> {
    let is_so = matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted);
    is_so.then(|| {
        let message = format!(
            "what scheduler {by} answers does not fit into a message: {}. Ask for the result there",
            status.message()
        );
        QueryError::new(ErrorClass::Resource, message)
    })
}

/// Has the owner of a result keep it, whoever that is by then, for as long as this lives.
struct Kept(oneshot::Sender<()>);

impl Kept {
    fn begin(shared: &Arc<Shared>, loan: Loan) -> Self {
        let (read, told) = oneshot::channel();
        shared.spawn_until_stopped(keep(Arc::clone(shared), loan, told));
        Kept(read)
    }

    /// It was read to its end.
    fn was_read(self) {
        // The scheduler may be stopping.
        let _ = self.0.send(());
    }
}

async fn keep(shared: Arc<Shared>, mut loan: Loan, mut told: oneshot::Receiver<()>) {
    loop {
        // Cancel safety: nothing is said any more but that it ends, and that is said again.
        tokio::select! {
            read = &mut told => {
                if read.is_ok() {
                    loan.was_read().await;
                }
                return;
            }
            () = loan.ended() => {}
        }
        let (query, former) = (loan.query, loan.owner);
        // Cancel safety: whoever drives it next has its time to keep what nobody has read.
        let next = tokio::select! {
            _ = &mut told => return,
            next = next(&shared, query, &former) => next,
        };
        loan = match next {
            Some(Next::There(there)) => *there,
            Some(Next::Here(here)) => {
                if told.await.is_ok() {
                    here.consumed();
                }
                return;
            }
            None => return,
        };
    }
}

/// Who keeps a result from now on.
enum Next {
    There(Box<Loan>),
    Here(Reading),
}

/// Has the next owner keep it; none if there is nothing to keep any more.
async fn next(shared: &Arc<Shared>, query: QueryId, former: &SchedulerId) -> Option<Next> {
    loop {
        match finding::ask(shared, query, Some(former), &question()).await {
            Ok(Found::Here) => {
                return Reading::begin(&shared.driver, query).map(Next::Here);
            }
            Ok(Found::Answer(Answer::Result(at))) if !at.read_at.is_empty() => {
                let owner = SchedulerId::new(at.read_at);
                match Loan::from(shared, query, owner).await.ok()? {
                    Some(loan) => return Some(Next::There(Box::new(loan))),
                    None => pause().await,
                }
            }
            _ => return None,
        }
    }
}
