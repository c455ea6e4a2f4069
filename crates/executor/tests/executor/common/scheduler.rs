//! A scheduler's end of the attach stream.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use paceline_model::{OutputId, QueryId};
use paceline_proto::cluster::cluster_server::{Cluster, ClusterServer};
use paceline_proto::cluster::from_executor::Message as Said;
use paceline_proto::cluster::from_scheduler::Message as Told;
use paceline_proto::cluster::task_state::State;
use paceline_proto::{attempt_ref, cluster, query_bytes};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::soon;

/// A scheduler on a port of its own. Killing it cuts its connections, as a SIGKILL would.
pub(crate) struct Scheduler {
    pub(crate) id: String,
    pub(crate) address: SocketAddr,
    arrivals: mpsc::UnboundedReceiver<Attached>,
    // Its own, so that a kill takes the connections as well.
    runtime: Option<Runtime>,
}

/// One executor at the other end.
pub(crate) struct Attached {
    pub(crate) hello: cluster::Hello,
    tell: mpsc::Sender<Result<cluster::FromScheduler, Status>>,
    said: mpsc::UnboundedReceiver<cluster::FromExecutor>,
    states: VecDeque<cluster::TaskState>,
    pub(crate) last_load: Option<cluster::Load>,
    pub(crate) heartbeats: u64,
    /// Whether states are acknowledged as they come.
    pub(crate) acknowledges: bool,
}

struct Service {
    id: String,
    refusal: Option<Status>,
    arrivals: mpsc::UnboundedSender<Attached>,
}

impl Scheduler {
    pub(crate) async fn start(id: &str) -> Self {
        Self::start_at(id, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub(crate) async fn start_at(id: &str, address: SocketAddr) -> Self {
        Self::launch(id, address, None).await
    }

    /// One that answers every attach with a refusal.
    pub(crate) async fn refusing(status: Status) -> Self {
        Self::launch(
            "refusing",
            SocketAddr::from(([127, 0, 0, 1], 0)),
            Some(status),
        )
        .await
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "nothing tells when a port is free; there is a deadline"
    )]
    async fn launch(id: &str, address: SocketAddr, refusal: Option<Status>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let service = Service {
            id: id.to_string(),
            refusal,
            arrivals: arrived,
        };
        let listening = runtime.spawn(async move {
            // The port of one that was just killed may take a moment to be free.
            loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                }
            }
        });
        let listener = soon("the scheduler's port", listening).await.unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(
            Server::builder()
                .add_service(ClusterServer::new(service))
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))),
        );
        Scheduler {
            id: id.to_string(),
            address,
            arrivals,
            runtime: Some(runtime),
        }
    }

    /// The next executor that attaches.
    pub(crate) async fn attached(&mut self) -> Attached {
        soon("an executor attaches", self.arrivals.recv())
            .await
            .expect("the scheduler lives")
    }

    pub(crate) fn kill(mut self) -> SocketAddr {
        self.runtime.take().unwrap().shutdown_background();
        self.address
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tonic::async_trait]
impl Cluster for Service {
    type AttachStream = ReceiverStream<Result<cluster::FromScheduler, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<cluster::FromExecutor>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        if let Some(status) = &self.refusal {
            return Err(status.clone());
        }
        let mut stream = request.into_inner();
        let Some(Said::Hello(hello)) = stream.message().await?.and_then(|m| m.message) else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (tell, told) = mpsc::channel(1024);
        let welcome = cluster::Welcome {
            scheduler: self.id.clone(),
            heartbeat_millis: 50,
        };
        let welcome = cluster::FromScheduler {
            message: Some(Told::Welcome(welcome)),
        };
        let _ = tell.send(Ok(welcome)).await;
        let (heard, said) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(message)) = stream.message().await {
                if heard.send(message).is_err() {
                    return;
                }
            }
        });
        let _ = self.arrivals.send(Attached {
            hello,
            tell,
            said,
            states: VecDeque::new(),
            last_load: None,
            heartbeats: 0,
            acknowledges: true,
        });
        Ok(Response::new(ReceiverStream::new(told)))
    }

    async fn catalog_changed(
        &self,
        _: Request<cluster::CatalogChangedRequest>,
    ) -> Result<Response<cluster::CatalogChangedResponse>, Status> {
        Err(Status::unimplemented("not of interest here"))
    }

    async fn forward(
        &self,
        _: Request<cluster::ForwardRequest>,
    ) -> Result<Response<cluster::ForwardResponse>, Status> {
        Err(Status::unimplemented("not of interest here"))
    }

    type WatchStream = ReceiverStream<Result<cluster::WatchResponse, Status>>;

    async fn watch(
        &self,
        _: Request<cluster::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not of interest here"))
    }

    async fn sealed(
        &self,
        _: Request<cluster::SealedRequest>,
    ) -> Result<Response<cluster::Empty>, Status> {
        Err(Status::unimplemented("not of interest here"))
    }

    async fn list(
        &self,
        _: Request<cluster::ListRequest>,
    ) -> Result<Response<cluster::ListResponse>, Status> {
        Err(Status::unimplemented("not of interest here"))
    }

    type ReadStream = ReceiverStream<Result<cluster::ReadResponse, Status>>;

    async fn read(
        &self,
        _: Request<cluster::ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        Err(Status::unimplemented("not of interest here"))
    }
}

impl Attached {
    pub(crate) async fn tell(&self, message: Told) {
        let message = cluster::FromScheduler {
            message: Some(message),
        };
        self.tell.send(Ok(message)).await.expect("still attached");
    }

    pub(crate) async fn cancel(&self, epoch: u64, id: OutputId) {
        self.tell(Told::CancelTasks(cluster::CancelTasks {
            query: query_bytes(id.query),
            epoch,
            attempts: vec![attempt_ref(id)],
        }))
        .await;
    }

    pub(crate) async fn release(&self, epoch: u64, id: OutputId) {
        self.tell(Told::ReleaseOutputs(cluster::ReleaseOutputs {
            query: query_bytes(id.query),
            epoch,
            outputs: vec![attempt_ref(id)],
        }))
        .await;
    }

    pub(crate) async fn end(&self, epoch: u64, query: QueryId) {
        self.tell(Told::EndQuery(cluster::EndQuery {
            query: query_bytes(query),
            epoch,
        }))
        .await;
    }

    /// Takes in what was said; false once the executor is gone.
    async fn hear(&mut self) -> bool {
        let Some(message) = self.said.recv().await else {
            return false;
        };
        match message.message {
            Some(Said::Heartbeat(heartbeat)) => {
                self.heartbeats += 1;
                self.last_load = heartbeat.load;
            }
            Some(Said::TaskStates(states)) => {
                self.last_load = states.load;
                if self.acknowledges {
                    let numbers = states.states.iter().map(|state| state.number);
                    let numbers = numbers.filter(|number| *number != 0).collect();
                    let message = cluster::FromScheduler {
                        message: Some(Told::Acknowledge(cluster::Acknowledge { numbers })),
                    };
                    let _ = self.tell.send(Ok(message)).await;
                }
                self.states.extend(states.states);
            }
            // What it holds of adopted queries, and its streams, are not of interest here.
            Some(Said::Held(_) | Said::Streams(_)) => {}
            Some(Said::Hello(_) | Said::Inventory(_)) | None => panic!("one hello is enough"),
        }
        true
    }

    /// The next final state of an attempt.
    pub(crate) async fn ended(&mut self, id: OutputId) -> State {
        self.ended_with(id).await.1
    }

    /// The next final state of an attempt, with its number and epoch.
    pub(crate) async fn ended_with(&mut self, id: OutputId) -> (cluster::TaskState, State) {
        soon(&format!("the end of {id}"), async {
            loop {
                let found = self.states.iter().position(|state| {
                    state.output_id() == Ok(id) && !matches!(state.state, Some(State::Running(_)))
                });
                if let Some(state) = found.and_then(|at| self.states.remove(at)) {
                    let end = state.state.clone().expect("a state");
                    return (state, end);
                }
                assert!(self.hear().await, "the executor went away");
            }
        })
        .await
    }

    /// Waits until an attempt is said to run.
    pub(crate) async fn running(&mut self, id: OutputId) -> cluster::Running {
        soon(&format!("progress of {id}"), async {
            loop {
                let found = self.states.iter().find_map(|state| match &state.state {
                    Some(State::Running(running)) if state.output_id() == Ok(id) => Some(*running),
                    _ => None,
                });
                if let Some(running) = found {
                    return running;
                }
                assert!(self.hear().await, "the executor went away");
            }
        })
        .await
    }

    /// Waits for a load that answers the description.
    pub(crate) async fn load(
        &mut self,
        what: &str,
        is: impl Fn(&cluster::Load) -> bool,
    ) -> cluster::Load {
        soon(what, async {
            loop {
                if let Some(load) = self.last_load.filter(&is) {
                    return load;
                }
                assert!(self.hear().await, "the executor went away");
            }
        })
        .await
    }

    /// Hears what comes for a number of heartbeats.
    pub(crate) async fn beats(&mut self, beats: u64) {
        let until = self.heartbeats + beats;
        soon("heartbeats", async {
            while self.heartbeats < until {
                assert!(self.hear().await, "the executor went away");
            }
        })
        .await;
    }

    /// The same; says how many final states of an attempt came.
    pub(crate) async fn ends_within_heartbeats(&mut self, id: OutputId, beats: u64) -> usize {
        self.beats(beats).await;
        let ends = self.states.iter().filter(|state| {
            state.output_id() == Ok(id) && !matches!(state.state, Some(State::Running(_)))
        });
        ends.count()
    }

    /// Waits until the executor has closed the stream.
    pub(crate) async fn gone(&mut self) {
        soon("the executor ends the stream", async {
            while self.hear().await {}
        })
        .await;
    }

    /// What the executor said of a query when it attached.
    pub(crate) fn inventory(&self) -> HashMap<Vec<u8>, cluster::HeldQuery> {
        let inventory = self.hello.inventory.clone().unwrap_or_default();
        let queries = inventory.queries.into_iter();
        queries.map(|held| (held.query.to_vec(), held)).collect()
    }
}
