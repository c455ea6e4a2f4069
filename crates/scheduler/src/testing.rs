//! What unit tests of this crate need: state in a directory, and a scheduler that serves nobody, or other
//! schedulers.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::Schema;
use paceline_core::{HeldQuery, StageOutputs};
use paceline_model::{
    Attempt, Epoch, ExchangeKind, ExecutorId, Incarnation, OutputLocation, PartitionRange, QueryId,
    SchedulerId, Stage, StageGraph, StageId, TaskId,
};
use paceline_plan::{QueryPlan, SessionSettings};
use paceline_proto::cluster::cluster_server::{Cluster, ClusterServer};
use paceline_store::{
    Addresses, Beacon, Journal, JournalMetrics, JournalOptions, Journals, Limits, Members,
    StateLocation, StateStore, StoreMetrics,
};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use uuid::Uuid;

use crate::attach::ClusterPort;
use crate::identity::Identity;
use crate::members::Membership;
use crate::options::SchedulerOptions;
use crate::record::QueryRecord;
use crate::service::Service;
use crate::shared::{Shared, assemble};
use crate::wire::Answer;

/// State in a directory.
pub(crate) fn store(directory: &Path) -> StateStore {
    let shown = directory.display().to_string();
    let location = StateLocation::parse(&shown, &Default::default(), []).unwrap();
    let metrics = StoreMetrics::register(&Registry::new()).unwrap();
    StateStore::open(&location, Limits::default(), metrics).unwrap()
}

/// The journals there.
pub(crate) fn journals(directory: &Path) -> Journals {
    let metrics = JournalMetrics::register(&Registry::new()).unwrap();
    Journals::new(store(directory), metrics)
}

/// One of them.
pub(crate) fn journal(journals: &Journals, of: &SchedulerId) -> Journal {
    Journal::begin(of.clone(), journals.clone(), JournalOptions::default())
}

/// A beacon without an address.
pub(crate) fn beacon(scheduler: SchedulerId, beat: u64) -> Beacon {
    Beacon {
        scheduler,
        incarnation: Incarnation(Uuid::nil()),
        addresses: Addresses {
            cluster: String::new(),
            flight: String::new(),
            http: String::new(),
        },
        zone: String::new(),
        version: String::new(),
        beat,
    }
}

/// A scheduler without doors, peers or executors, whose state lies in a directory.
pub(crate) async fn shared(directory: &Path) -> Arc<Shared> {
    shared_with(directory, |_| {}).await
}

/// The same with other options.
pub(crate) async fn shared_with(
    directory: &Path,
    change: impl FnOnce(&mut SchedulerOptions),
) -> Arc<Shared> {
    let mut options = SchedulerOptions {
        state: directory.display().to_string(),
        ..SchedulerOptions::default()
    };
    change(&mut options);
    let (store, identity) = (store(directory), Identity::draw("s"));
    let own = beacon(identity.id(), 0);
    let membership = Membership::new(Members::new(store.clone()), own, options.beat);
    let stores = (store.clone(), store);
    let registry = Registry::new();
    let shared = assemble(&options, &registry, identity, stores, membership).await;
    shared.unwrap()
}

/// Its cluster port.
pub(crate) fn cluster_port(shared: &Arc<Shared>) -> ClusterPort {
    ClusterPort {
        shared: Arc::clone(shared),
        service: Arc::new(Service::new(Arc::clone(shared))),
    }
}

/// Serves a cluster port for as long as the test runs, and returns its address.
pub(crate) async fn serve(port: impl Cluster) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let incoming = TcpListenerStream::new(listener);
    let server = Server::builder().add_service(ClusterServer::new(port));
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

/// A query that a client sent a moment ago.
pub(crate) fn record() -> QueryRecord {
    let query = QueryId(Uuid::now_v7());
    let (schema, now) = (Arc::new(Schema::empty()), Instant::now());
    QueryRecord::new(query, "SELECT 1".to_string(), schema, None, now, now)
}

/// An executor's word that it holds nothing of a query, of which it has seen that epoch.
pub(crate) fn holding_nothing(query: QueryId, epoch: Epoch) -> Answer {
    let held = HeldQuery {
        query,
        epoch,
        finished: vec![],
        inline: vec![],
        running: vec![],
        ours: false,
    };
    Answer {
        held,
        owner: None,
        results: vec![],
    }
}

/// A query of one stage that executors run as so many tasks.
pub(crate) fn planned(tasks: u32) -> QueryRecord {
    let stage = Stage {
        id: StageId(0),
        plan: Arc::from(&b"the plan"[..]),
        partitions: tasks,
        divisible: true,
        exchange: ExchangeKind::Forward,
        inputs: vec![],
        deterministic: true,
        scan_bytes: u64::MAX,
        text: Arc::from(""),
    };
    let mut record = record();
    record.plan = Some(QueryPlan {
        graph: Arc::new(StageGraph::new(vec![stage]).unwrap()),
        schema: Arc::new(Schema::empty()),
        settings: SessionSettings::default(),
        analyze: false,
    });
    record
}

/// What so many tasks of its stage left, on an executor that nobody reaches.
pub(crate) fn outputs(tasks: u32) -> StageOutputs {
    let one = |task| OutputLocation {
        task: TaskId(task),
        attempt: Attempt(0),
        partitions: PartitionRange::new(task, 1),
        executor: ExecutorId::new("x"),
        address: "127.0.0.1:1".to_string(),
    };
    StageOutputs {
        locations: (0..tasks).map(one).collect(),
        summaries: vec![],
    }
}
