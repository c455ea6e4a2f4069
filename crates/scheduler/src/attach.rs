//! The streams that executors open, and what schedulers ask each other: the cluster port.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use paceline_model::{CatalogVersion, Epoch, ExecutorId, SchedulerId};
use paceline_proto::cluster::cluster_server::Cluster;
use paceline_proto::cluster::from_executor::Message as Said;
use paceline_proto::cluster::from_scheduler::Message as Told;
use paceline_proto::{PROTOCOL, cluster};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{IntervalStream, ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use crate::links::{LinkId, OUTGOING_MESSAGES};
use crate::moment::now_and_then;
use crate::news::News;
use crate::service::Service;
use crate::shared::Shared;
use crate::watching::{WATCH_BEAT, Watcher};
use crate::wire::{self, Answer};

/// How long the port of an executor whose stream broke is given to answer.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// Parts of an inventory; executors say at least some megabytes in each. Only bounds what a broken one can
/// make us hold.
const MOST_PARTS: usize = 1024;

/// How often a port is asked again while its executor may still come back.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// The service on the cluster port.
#[derive(Debug, Clone)]
pub(crate) struct ClusterPort {
    pub(crate) shared: Arc<Shared>,
    pub(crate) service: Arc<Service>,
}

type Watching = Pin<Box<dyn Stream<Item = Result<cluster::WatchResponse, Status>> + Send>>;
type Lending = Pin<Box<dyn Stream<Item = Result<cluster::ReadResponse, Status>> + Send>>;
type Commands = Pin<Box<dyn Stream<Item = Result<cluster::FromScheduler, Status>> + Send>>;

#[tonic::async_trait]
impl Cluster for ClusterPort {
    type AttachStream = Commands;

    async fn attach(
        &self,
        request: Request<Streaming<cluster::FromExecutor>>,
    ) -> Result<Response<Commands>, Status> {
        let mut inbound = request.into_inner();
        let mut hello = match inbound.message().await?.and_then(|first| first.message) {
            Some(Said::Hello(hello)) => hello,
            _ => return Err(Status::invalid_argument("an executor says Hello first")),
        };
        if hello.protocol != PROTOCOL {
            return Err(Status::failed_precondition(format!(
                "the executor speaks protocol {} and this scheduler protocol {PROTOCOL}: run the \
                 same version of both",
                hello.protocol
            )));
        }
        if hello.executor.is_empty() {
            return Err(Status::invalid_argument("Hello names no executor"));
        }
        if !can_be_dialed(&hello.address) {
            return Err(Status::invalid_argument(format!(
                "the executor's address '{}' is not host:port",
                hello.address
            )));
        }
        let held = inventory(&mut hello, &mut inbound).await?;
        let shared = Arc::clone(&self.shared);
        shared.reached();
        if shared.has_handed_over() {
            return Err(Status::unavailable("this scheduler is shutting down"));
        }
        let me = shared.driver.me();
        let (outgoing, commands) = mpsc::channel(OUTGOING_MESSAGES);
        let welcome = cluster::Welcome {
            scheduler: me.to_string(),
            heartbeat_millis: shared.heartbeat.as_millis() as u64,
        };
        // The channel is new and has room.
        let _ = outgoing.try_send(cluster::FromScheduler {
            message: Some(Told::Welcome(welcome)),
        });
        let executor = ExecutorId::new(hello.executor.as_str());
        tracing::info!(%executor, address = hello.address, slots = hello.slots, "attached");
        let link = shared.driver.attached(&me, hello, held, outgoing);
        let link = link.ok_or_else(|| Status::unavailable("this scheduler has a new id"))?;
        shared.tell_members_to(&executor);
        shared.spawn(listen(Arc::clone(&shared), executor, link, inbound));
        let commands = ReceiverStream::new(commands);
        Ok(Response::new(Box::pin(commands.map(Ok))))
    }

    async fn catalog_changed(
        &self,
        request: Request<cluster::CatalogChangedRequest>,
    ) -> Result<Response<cluster::CatalogChangedResponse>, Status> {
        self.shared.reached();
        let version = CatalogVersion(request.into_inner().version);
        let catalog = self
            .shared
            .catalog
            .reach(version)
            .await
            .map_err(|e| Status::unavailable(e.message))?;
        Ok(Response::new(cluster::CatalogChangedResponse {
            version: catalog.version().0,
        }))
    }

    type WatchStream = Watching;

    async fn watch(
        &self,
        request: Request<cluster::WatchRequest>,
    ) -> Result<Response<Watching>, Status> {
        self.shared.reached();
        let shared = Arc::clone(&self.shared);
        let peer = SchedulerId::new(request.into_inner().from);
        let watcher = Watcher::begin(&shared, peer);
        // A word now and then is what shows that nothing is wrong.
        let beats = IntervalStream::new(now_and_then(WATCH_BEAT)).map(move |_| {
            let _ = &watcher;
            Ok(cluster::WatchResponse {
                scheduler: shared.driver.me().to_string(),
            })
        });
        let stopped = self.shared.stop.clone().cancelled_owned();
        Ok(Response::new(Box::pin(beats.take_until(stopped))))
    }

    async fn sealed(
        &self,
        request: Request<cluster::SealedRequest>,
    ) -> Result<Response<cluster::Empty>, Status> {
        self.shared.reached();
        let journal = SchedulerId::new(request.into_inner().scheduler);
        if journal.as_str().is_empty() {
            return Err(Status::invalid_argument("no scheduler is named"));
        }
        // Of its own journal it finds out by writing to it.
        let news = match journal == self.shared.driver.me() {
            true => News::Doubt,
            false => News::Seal(journal),
        };
        self.shared.driver.newsroom.tell(news);
        Ok(Response::new(cluster::Empty {}))
    }

    async fn forward(
        &self,
        request: Request<cluster::ForwardRequest>,
    ) -> Result<Response<cluster::ForwardResponse>, Status> {
        let request = request.into_inner();
        // Who has given its queries away knows nothing about them that counts.
        if request.to != self.shared.driver.me().as_str() || self.shared.has_handed_over() {
            return Err(Status::unavailable("the scheduler asked is no more"));
        }
        let answer = crate::answering::answer(&self.service, request)
            .await
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        Ok(Response::new(answer))
    }

    async fn list(
        &self,
        request: Request<cluster::ListRequest>,
    ) -> Result<Response<cluster::ListResponse>, Status> {
        let answer = crate::listing::answer(&self.shared, &request.into_inner())
            .map_err(|e| Status::invalid_argument(e.message))?;
        Ok(Response::new(answer))
    }

    type ReadStream = Lending;

    async fn read(
        &self,
        request: Request<cluster::ReadRequest>,
    ) -> Result<Response<Lending>, Status> {
        let request = request.into_inner();
        // As of `forward`.
        if request.to != self.shared.driver.me().as_str() || self.shared.has_handed_over() {
            return Err(Status::unavailable("the scheduler asked is no more"));
        }
        let messages = crate::lending::lend(&self.shared, &request).await?;
        let stopped = self.shared.stop.clone().cancelled_owned();
        Ok(Response::new(Box::pin(messages.take_until(stopped))))
    }
}

/// Whether others can try: of an address that they cannot read they would only find out as they read
/// from it.
fn can_be_dialed(address: &str) -> bool {
    let parts = address.rsplit_once(':');
    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// All that an executor holds: what `Hello` names, and the parts that follow it.
async fn inventory(
    hello: &mut cluster::Hello,
    inbound: &mut Streaming<cluster::FromExecutor>,
) -> Result<Vec<Answer>, Status> {
    let mut held = Vec::new();
    let mut part = hello.inventory.take().unwrap_or_default();
    for _ in 0..MOST_PARTS {
        let more = part.more;
        let read = wire::inventory(part);
        held.extend(read.map_err(|e| Status::invalid_argument(e.to_string()))?);
        if !more {
            return Ok(held);
        }
        part = match inbound.message().await?.and_then(|next| next.message) {
            Some(Said::Inventory(part)) => part,
            _ => return Err(Status::invalid_argument("the inventory breaks off")),
        };
    }
    Err(Status::invalid_argument(format!(
        "the inventory has more than {MOST_PARTS} parts"
    )))
}

/// Takes in what an executor says until its stream ends, and finds out what that means.
async fn listen(
    shared: Arc<Shared>,
    executor: ExecutorId,
    link: LinkId,
    mut inbound: Streaming<cluster::FromExecutor>,
) {
    let why = loop {
        // Cancel safety: a message that was not received whole is of no use any more when the
        // scheduler stops.
        let message = tokio::select! {
            message = inbound.message() => message,
            () = shared.stop.cancelled() => return,
        };
        match message {
            Ok(Some(message)) => {
                if let Some(message) = message.message
                    && !take_in(&shared, &executor, link, message)
                {
                    return;
                }
            }
            Ok(None) => break "it closed its stream".to_string(),
            Err(status) => break format!("its stream broke: {}", status.message()),
        }
    };
    await_return(&shared, &executor, link, why).await;
}

/// False once another stream of the executor has taken this one's place.
fn take_in(shared: &Shared, executor: &ExecutorId, link: LinkId, message: Said) -> bool {
    match message {
        // Those come before an executor is attached.
        Said::Hello(_) | Said::Inventory(_) => true,
        Said::Held(held) => {
            if !shared.driver.heard(executor, link, None) {
                return false;
            }
            match wire::answers(held) {
                Ok(answers) => shared.driver.answered(executor, answers),
                Err(malformed) => tracing::warn!(%executor, %malformed, "unreadable answer"),
            }
            true
        }
        Said::Streams(streams) => {
            if !shared.driver.heard(executor, link, None) {
                return false;
            }
            let schedulers = streams.schedulers.into_iter().map(SchedulerId::new);
            shared.driver.streams(executor, schedulers.collect());
            true
        }
        Said::Heartbeat(heartbeat) => shared.driver.heard(executor, link, heartbeat.load),
        Said::TaskStates(states) => {
            if !shared.driver.heard(executor, link, None) {
                return false;
            }
            let mut numbers = Vec::with_capacity(states.states.len());
            for state in states.states {
                numbers.push(state.number);
                report(shared, executor, state);
            }
            shared.driver.acknowledge(executor, numbers);
            shared.driver.heard(executor, link, states.load)
        }
    }
}

fn report(shared: &Shared, executor: &ExecutorId, state: cluster::TaskState) {
    let epoch = Epoch(state.epoch);
    match (state.output_id(), state.state) {
        (Ok(id), Some(state)) => {
            shared
                .driver
                .reported(executor, id, epoch, wire::report(state));
        }
        (Err(malformed), _) => tracing::warn!(%executor, %malformed, "unreadable task state"),
        (Ok(id), None) => tracing::debug!(%executor, %id, "a task state of a newer protocol"),
    }
}

/// Tells an executor that died from one whose connection broke. A port that refuses is proof; one
/// that answers, or says nothing, gets a while to attach again.
#[expect(
    clippy::disallowed_methods,
    reason = "a port that refuses has to be asked; that it attached again is seen between"
)]
async fn await_return(shared: &Shared, executor: &ExecutorId, link: LinkId, why: String) {
    let Some(address) = shared.driver.stream_broke(executor, link) else {
        return;
    };
    let patience = tokio::time::sleep(shared.reattach_grace);
    tokio::pin!(patience);
    loop {
        let probe = tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(&address));
        // Cancel safety: a probe may be dropped at any point.
        let refused = tokio::select! {
            probed = probe => matches!(
                probed,
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused
            ),
            () = &mut patience => break,
            () = shared.stop.cancelled() => return,
        };
        if refused {
            shared
                .driver
                .lost(executor, link, format!("{why}, and its port is closed"));
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(PROBE_INTERVAL) => {}
            () = &mut patience => break,
            () = shared.stop.cancelled() => return,
        }
        if shared.driver.stream_broke(executor, link).is_none() {
            return;
        }
    }
    shared.driver.lost(
        executor,
        link,
        format!("{why}, and it did not attach again"),
    );
}
