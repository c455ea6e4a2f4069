//! One scheduler, from its start to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use paceline_frontend::{
    FlightOptions, FrontendMetrics, HttpOptions, QueryService, serve_flight, serve_http,
};
use paceline_model::SchedulerId;
use paceline_proto::MESSAGE_LIMIT;
use paceline_proto::cluster::cluster_server::ClusterServer;
use paceline_store::{Addresses, Members};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

use crate::attach::ClusterPort;
use crate::beating::keep_beating;
use crate::driver::Driver;
use crate::error::StartError;
use crate::expiry::sweep_results;
use crate::garbage::sweep_garbage;
use crate::identity::Identity;
use crate::leaving::leave;
use crate::members::Membership;
use crate::moment::now_and_then;
use crate::options::SchedulerOptions;
use crate::service::Service;
use crate::shared::{Shared, assemble};
use crate::start::{Listeners, beacon, listen, make_tables, meet, open_state};
use crate::writing::sweep_leftovers;

/// How often records are looked through, and executors that say nothing are looked for.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

/// Beats between two looks at whether the own journal could be shorter.
const SHORTEN_BEATS: u32 = 20;

/// A running scheduler. Dropping it stops it without grace; see [`drain`](Self::drain).
#[derive(Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
    addresses: Addresses,
}

impl Scheduler {
    /// Starts a scheduler; it serves when this returns.
    ///
    /// # Errors
    /// [`StartError`] says what keeps it from starting, and what to change.
    pub async fn start(options: SchedulerOptions, registry: &Registry) -> Result<Self, StartError> {
        let listeners = listen(&options).await?;
        let addresses = listeners.addresses.clone();
        let (store, roomy) = open_state(&options, registry).await?;
        let identity = Identity::draw(&options.name);
        // The beacon comes before the catalog: whoever changes the catalog after this was read
        // finds the beacon and tells.
        let own = beacon(&options, identity.id(), addresses.clone());
        let membership = Membership::new(Members::new(store.clone()), own, options.beat);
        membership.beat(Instant::now()).await?;
        let shared = assemble(&options, registry, identity, (store, roomy), membership).await?;
        let scheduler = Scheduler { shared, addresses };
        if let Err(error) = scheduler.open(listeners, &options, registry).await {
            scheduler.stop().await;
            return Err(error);
        }
        tracing::info!(
            scheduler = %scheduler.id(),
            flight = scheduler.addresses.flight,
            http = scheduler.addresses.http,
            cluster = scheduler.addresses.cluster,
            "ready"
        );
        Ok(scheduler)
    }

    /// Who this is: drawn at every start, and again when its journal was sealed by others.
    pub fn id(&self) -> SchedulerId {
        self.shared.driver.me()
    }

    /// Where it can be reached.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Accepts what it has begun to; hands its queries over to the other schedulers, or finishes them if
    /// there are none; serves its clients until they have their answers or `patience` is over; then stops.
    pub async fn drain(&self, patience: Duration) {
        leave(&self.shared, patience).await;
        self.stop().await;
    }

    /// Returns when it is being stopped, also if nobody asked for that: work that it cannot do without
    /// has ended, and what it serves ends with it.
    pub async fn stopping(&self) {
        self.shared.stop.cancelled().await;
    }

    /// Stops now: running queries are dropped, connections are closed.
    pub async fn stop(&self) {
        self.shared.begin_draining();
        self.shared.begin_leaving();
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.membership.leave().await;
    }

    /// Opens one port after the other. Other schedulers come before clients: to make the tables of its
    /// configuration it has to tell them, and they may be starting and have to tell this one of theirs.
    async fn open(
        &self,
        listeners: Listeners,
        options: &SchedulerOptions,
        registry: &Registry,
    ) -> Result<(), StartError> {
        let metrics = FrontendMetrics::register(registry)?;
        let service = Arc::new(Service::new(Arc::clone(&self.shared)));
        self.serve_cluster(listeners.cluster, Arc::clone(&service));
        self.keep_house(options);
        make_tables(&self.shared, options).await?;
        meet(&self.shared).await;
        self.serve_clients((listeners.flight, listeners.http), service, metrics);
        Ok(())
    }

    fn serve_cluster(&self, listener: TcpListener, service: Arc<Service>) {
        let shared = &self.shared;
        let port = ClusterServer::new(ClusterPort {
            shared: Arc::clone(shared),
            service,
        })
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
        let stop = shared.stop.clone();
        shared.spawn(async move {
            let incoming =
                tokio_stream::StreamExt::map(TcpListenerStream::new(listener), |connection| {
                    connection.inspect(|stream| {
                        // Without it small messages wait for one another; it fails on no live
                        // connection.
                        let _ = stream.set_nodelay(true);
                    })
                });
            let served = tonic::transport::Server::builder()
                .http2_keepalive_interval(Some(Duration::from_secs(1)))
                .http2_keepalive_timeout(Some(Duration::from_secs(2)))
                .add_service(port)
                .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
            // Attach streams never end by themselves; a stopping scheduler does not wait for them.
            tokio::select! {
                served = served => if let Err(error) = served {
                    tracing::error!(%error, "the cluster port is closed");
                },
                () = stop.cancelled() => {}
            }
        });
    }

    fn serve_clients(
        &self,
        (flight, http): (TcpListener, TcpListener),
        service: Arc<Service>,
        metrics: FrontendMetrics,
    ) {
        let shared = &self.shared;
        let service: Arc<dyn QueryService> = service;
        let (of_flight, stop) = (Arc::clone(&service), shared.stop.clone());
        let flight_metrics = metrics.clone();
        shared.spawn(async move {
            let options = FlightOptions::default();
            let served = serve_flight(flight, of_flight, options, flight_metrics, stop);
            if let Err(error) = served.await {
                tracing::error!(%error, "the Flight SQL port is closed");
            }
        });
        let stop = shared.stop.clone();
        shared.spawn(async move {
            serve_http(http, service, HttpOptions::default(), metrics, stop).await;
        });
    }

    fn keep_house(&self, options: &SchedulerOptions) {
        let shared = &self.shared;
        let driver = Arc::clone(&shared.driver);
        shared.spawn_until_stopped(async move { driver.keep_time().await });
        shared.spawn_until_stopped(keep_beating(Arc::clone(shared)));
        shared.spawn_until_stopped(sweep_results(Arc::clone(shared)));
        shared.spawn_until_stopped(sweep_leftovers(Arc::clone(shared)));
        let (garbage, age) = (shared.journaling.garbage.clone(), options.garbage_after);
        shared.spawn_until_stopped(sweep_garbage(Arc::clone(shared), garbage, age));
        let driver = Arc::clone(&shared.driver);
        shared.spawn_until_stopped(look_after(driver, options.executor_timeout));
        let driver = Arc::clone(&shared.driver);
        shared.spawn_until_stopped(keep_short(
            driver,
            options.beat.saturating_mul(SHORTEN_BEATS),
        ));
    }
}

/// Looks through records, and for executors that say nothing, for as long as it is polled.
async fn look_after(driver: Arc<Driver>, timeout: Duration) {
    let mut ticks = now_and_then(HOUSEKEEPING);
    loop {
        ticks.tick().await;
        driver.tidy();
        for (executor, link) in driver.silent(timeout) {
            driver.lost(&executor, link, format!("it said nothing for {timeout:?}"));
        }
    }
}

/// Sees to it, for as long as it is polled, that what ended queries left in the journal goes, also when no
/// others come.
async fn keep_short(driver: Arc<Driver>, every: Duration) {
    let mut ticks = now_and_then(every);
    loop {
        ticks.tick().await;
        driver.scribe.shorten();
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}
