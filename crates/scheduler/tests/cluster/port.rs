//! The cluster port, to which whoever finds it may say anything.

use std::time::Duration;

use futures::stream;
use paceline_proto::cluster::cluster_client::ClusterClient;
use paceline_proto::cluster::from_executor::Message as Said;
use paceline_proto::cluster::from_scheduler::Message as Told;
use paceline_proto::{PROTOCOL, cluster};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::support::Cluster;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Client = ClusterClient<Channel>;

/// A connection to the first scheduler.
pub(crate) async fn connect(cluster: &Cluster) -> Client {
    let address = &cluster.schedulers[0].addresses().cluster;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    ClusterClient::new(endpoint.connect().await.unwrap())
}

/// What an executor says first that holds nothing.
pub(crate) fn hello(executor: &str, address: &str) -> cluster::Hello {
    cluster::Hello {
        protocol: PROTOCOL,
        executor: executor.to_string(),
        address: address.to_string(),
        slots: 1,
        ..cluster::Hello::default()
    }
}

pub(crate) fn message(said: Said) -> cluster::FromExecutor {
    cluster::FromExecutor {
        message: Some(said),
    }
}

/// A stream as an executor opens it. It ends when this is dropped.
pub(crate) struct Attached {
    _say: mpsc::Sender<cluster::FromExecutor>,
    told: Streaming<cluster::FromScheduler>,
}

/// Opens a stream, and says so much on it.
pub(crate) async fn attach(client: &mut Client, all: Vec<cluster::FromExecutor>) -> Attached {
    let (say, said) = mpsc::channel(all.len().max(1));
    for one in all {
        say.try_send(one).unwrap();
    }
    let told = client.attach(ReceiverStream::new(said)).await.unwrap();
    Attached {
        _say: say,
        told: told.into_inner(),
    }
}

/// Why a stream is refused on which so much is said.
pub(crate) async fn refused(client: &mut Client, all: Vec<cluster::FromExecutor>) -> Status {
    let attached = tokio::time::timeout(PATIENCE, client.attach(stream::iter(all))).await;
    let attached = attached.expect("an answer in time");
    attached.map(drop).expect_err("it makes no sense")
}

impl Attached {
    /// What is looked for in the scheduler's messages, once it comes.
    pub(crate) async fn hear<T>(&mut self, wanted: impl Fn(Told) -> Option<T>) -> T {
        let found = async {
            loop {
                let told = self.told.message().await.unwrap();
                let told = told.expect("the stream goes on").message;
                if let Some(found) = told.and_then(&wanted) {
                    return found;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.expect("it is said in time")
    }
}
