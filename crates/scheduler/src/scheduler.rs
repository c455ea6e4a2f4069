//! One scheduler, from its start to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use paceline_core::ownership::{Closed, SuspicionOptions};
use paceline_core::{Core, Options};
use paceline_exchange::{ExchangeMetrics, PeerOptions};
use paceline_frontend::{
    FlightOptions, FrontendMetrics, HttpOptions, QueryService, serve_flight, serve_http,
};
use paceline_model::{ByteSize, ErrorClass, Incarnation, QueryError, SchedulerId};
use paceline_plan::{Catalog, Change, Engine, EngineOptions, Planned, Planner, PlannerOptions};
use paceline_proto::cluster;
use paceline_proto::cluster::cluster_server::ClusterServer;
use paceline_proto::cluster::from_scheduler::Message as Told;
use paceline_store::{
    Addresses, Beacon, CatalogLog, Claims, ClusterIdentity, Garbage, JournalMetrics,
    JournalOptions, Journals, Limits, Members, Results, StateLocation, StateStore, StoreMetrics,
    probe,
};
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;
use uuid::Uuid;

use crate::attach::ClusterPort;
use crate::catalog::Catalogs;
use crate::conclusion::sweep_results;
use crate::driver::{Driver, Parts};
use crate::error::StartError;
use crate::garbage::sweep_garbage;
use crate::identity::Identity;
use crate::journaling::Journaling;
use crate::members::{Membership, keep_beating};
use crate::metrics::SchedulerMetrics;
use crate::options::SchedulerOptions;
use crate::peers::Peers;
use crate::scribe::Scribe;
use crate::service::Service;
use crate::shelf::Keep;
use crate::steps::until_stopped;
use crate::takeover::{News, Newsroom, Takeover};
use crate::turns::Turns;
use crate::watching::Watched;
use crate::writing::{data_location, sweep_leftovers};

const MESSAGE_LIMIT: usize = 256 << 20;

/// How often records are looked through, and executors that say nothing are looked for.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

/// Parts of results are larger than other state.
const RESULT_LIMITS: Limits = Limits {
    request: Duration::from_secs(30),
    total: Duration::from_secs(60),
};

/// What all parts of a scheduler share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) driver: Arc<Driver>,
    pub(crate) planner: Planner,
    pub(crate) catalog: Catalogs,
    pub(crate) membership: Membership,
    pub(crate) peers: Peers,
    pub(crate) watched: Watched,
    pub(crate) turns: Turns,
    pub(crate) journaling: Journaling,
    pub(crate) exchange_peers: paceline_exchange::Peers,
    pub(crate) exchange_metrics: ExchangeMetrics,
    pub(crate) read_budget: ByteSize,
    pub(crate) heartbeat: Duration,
    pub(crate) reattach_grace: Duration,
    pub(crate) query_timeout: Option<Duration>,
    /// How long results of submitted queries are kept, unless their client says.
    pub(crate) submitted_ttl: Duration,
    /// Where the files of managed tables lie, if there is a place for them.
    pub(crate) data: Option<Url>,
    /// How long the files of a dropped table are kept.
    pub(crate) dropped_ttl: Duration,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// The members as executors were told last.
    told: Mutex<cluster::Members>,
    draining: AtomicBool,
    handed_over: AtomicBool,
    store_away: AtomicBool,
}

impl Shared {
    /// Notes whether the state store answers.
    pub(crate) fn store_away(&self, away: bool) {
        self.store_away.store(away, Ordering::Release);
    }

    /// The catalog to plan the next statement with. Whoever changed it while this scheduler was held
    /// for gone did not wait until it knew.
    pub(crate) async fn catalog(&self) -> Result<Catalog, QueryError> {
        if self.membership.may_be_missed(Instant::now()) {
            self.catalog.doubt();
        }
        self.catalog.current().await
    }

    /// Whether this scheduler is about to leave.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether its queries are others' by now.
    pub(crate) fn has_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// Tells every executor who the schedulers are, if that has changed.
    pub(crate) fn tell_members(&self) {
        let members = self.membership.message();
        let mut told = self.told.lock();
        if *told != members {
            self.driver.broadcast(&Told::Members(members.clone()));
            *told = members;
        }
    }

    /// Why new queries should go elsewhere; empty if they should not.
    pub(crate) fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.draining.load(Ordering::Acquire) {
            reasons.push("the scheduler is shutting down".to_string());
        }
        if self.store_away.load(Ordering::Acquire) {
            reasons.push("the state store does not answer".to_string());
        }
        if self.driver.slots().is_empty() {
            reasons.push("no executor is attached".to_string());
        }
        reasons
    }
}

/// A running scheduler. Dropping it stops it without grace; see [`drain`](Self::drain).
#[derive(Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
    addresses: Addresses,
}

struct Listeners {
    cluster: TcpListener,
    flight: TcpListener,
    http: TcpListener,
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
        let scheduler = Scheduler {
            shared: Arc::clone(&shared),
            addresses,
        };
        make_tables(&shared, &options).await?;
        scheduler.serve(listeners, registry)?;
        scheduler.keep_house(&options);
        tracing::info!(
            scheduler = %shared.driver.me(),
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

    /// Hands its queries over to the other schedulers, or finishes them if there are none; serves its
    /// clients until they have their answers or `patience` is over; then stops.
    pub async fn drain(&self, patience: Duration) {
        self.shared.draining.store(true, Ordering::Release);
        self.shared.membership.leave().await;
        if !self.shared.membership.peers().is_empty() {
            hand_over(&self.shared).await;
        }
        let idle = async {
            while self.shared.driver.busy() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(patience, idle).await.is_err() {
            tracing::warn!("stopping although clients still wait");
        }
        // Also after a hand-over: whoever took over may be leaving as well.
        close_journal(&self.shared).await;
        self.stop().await;
    }

    /// Stops now: running queries are dropped, connections are closed.
    pub async fn stop(&self) {
        self.shared.draining.store(true, Ordering::Release);
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.membership.leave().await;
    }

    fn serve(&self, listeners: Listeners, registry: &Registry) -> Result<(), StartError> {
        let shared = &self.shared;
        let metrics = FrontendMetrics::register(registry)?;
        let service = Arc::new(Service::new(Arc::clone(shared)));
        let port = ClusterServer::new(ClusterPort {
            shared: Arc::clone(shared),
            service: Arc::clone(&service),
        })
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
        let stop = shared.stop.clone();
        shared.tasks.spawn(async move {
            let incoming = tokio_stream::StreamExt::map(
                TcpListenerStream::new(listeners.cluster),
                |connection| {
                    connection.inspect(|stream| {
                        // Without it small messages wait for one another; it fails on no live
                        // connection.
                        let _ = stream.set_nodelay(true);
                    })
                },
            );
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
        let service: Arc<dyn QueryService> = service;
        let (flight, stop) = (Arc::clone(&service), shared.stop.clone());
        let flight_metrics = metrics.clone();
        shared.tasks.spawn(async move {
            let options = FlightOptions::default();
            let served = serve_flight(listeners.flight, flight, options, flight_metrics, stop);
            if let Err(error) = served.await {
                tracing::error!(%error, "the Flight SQL port is closed");
            }
        });
        let stop = shared.stop.clone();
        shared.tasks.spawn(async move {
            serve_http(
                listeners.http,
                service,
                HttpOptions::default(),
                metrics,
                stop,
            )
            .await;
        });
        Ok(())
    }

    fn keep_house(&self, options: &SchedulerOptions) {
        let background = |work: futures::future::BoxFuture<'static, ()>| {
            let stop = self.shared.stop.clone();
            self.shared.tasks.spawn(async move {
                // Cancel safety: background work holds nothing that outlives the scheduler.
                tokio::select! {
                    () = work => {}
                    () = stop.cancelled() => {}
                }
            });
        };
        let driver = Arc::clone(&self.shared.driver);
        background(Box::pin(async move { driver.keep_time().await }));
        background(Box::pin(keep_beating(Arc::clone(&self.shared))));
        background(Box::pin(sweep_results(Arc::clone(&self.shared))));
        background(Box::pin(sweep_leftovers(Arc::clone(&self.shared))));
        let garbage = self.shared.journaling.garbage.clone();
        let (shared, age) = (Arc::clone(&self.shared), options.garbage_after);
        background(Box::pin(sweep_garbage(shared, garbage, age)));
        let driver = Arc::clone(&self.shared.driver);
        let timeout = options.executor_timeout;
        background(Box::pin(async move {
            let mut ticks = tokio::time::interval(HOUSEKEEPING);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                driver.tidy();
                for (executor, link) in driver.silent(timeout) {
                    driver.lost(&executor, link, format!("it said nothing for {timeout:?}"));
                }
            }
        }));
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Puts together what all parts of a scheduler share, and starts what writes its journal and decides who
/// owns what.
pub(crate) async fn assemble(
    options: &SchedulerOptions,
    registry: &Registry,
    identity: Identity,
    (store, roomy): (StateStore, StateStore),
    membership: Membership,
) -> Result<Arc<Shared>, StartError> {
    let data = data_location(&options.data_location, &options.state)?;
    let engine = Engine::new(EngineOptions {
        object_store: options.object_store.clone(),
        ..EngineOptions::default()
    })
    .map_err(StartError::Engine)?;
    let journal_metrics = JournalMetrics::register(registry)?;
    let journals = Journals::new(store.clone(), journal_metrics.clone());
    let results = Results::new(roomy.clone());
    let journaling = Journaling {
        // Its listings may be long.
        garbage: Garbage::new(roomy, journals.clone(), results.clone()),
        journals,
        claims: Claims::new(store.clone(), journal_metrics),
        results,
        options: JournalOptions::default(),
        suspicion: SuspicionOptions {
            takeover_after: options.takeover_after,
        },
        patience: options.beat,
    };
    let log = CatalogLog::open(store).await?;
    let metrics = SchedulerMetrics::register(registry)?;
    let catalog = Catalogs::open(engine.clone(), log, metrics.violations.clone())
        .await
        .map_err(StartError::Engine)?;
    let core = Core::new(Options {
        max_running_queries: options.max_running_queries.max(1),
        max_queued_queries: options.max_queued_queries,
        max_attempts: options.max_attempts.max(1),
        no_executor_grace: options.no_executor_grace,
        ..Options::default()
    });
    let keep = Keep {
        consumed: options.result_ttl,
        unread: options.unread_ttl,
        abandoned: options.abandon_after,
    };
    let journal = journaling.open(identity.id());
    let (scribe, writing) = Scribe::new(journal.clone());
    let (newsroom, news) = Newsroom::new();
    let driver = Driver::new(Parts {
        identity,
        core,
        scribe,
        newsroom,
        keep,
        inline_limit: options.inline_limit,
        linger: options.linger,
        metrics,
    });
    let planner = Planner::new(
        engine,
        PlannerOptions {
            small_plan: options.small_plan,
        },
    )
    .storing_at(data.clone());
    let shared = Arc::new(Shared {
        driver: Arc::new(driver),
        planner,
        catalog,
        membership,
        peers: Peers::default(),
        watched: Watched::default(),
        turns: Turns::default(),
        journaling: journaling.clone(),
        exchange_peers: paceline_exchange::Peers::new(PeerOptions::default()),
        exchange_metrics: ExchangeMetrics::register(registry)?,
        read_budget: options.read_budget,
        heartbeat: options.heartbeat,
        reattach_grace: options.reattach_grace,
        query_timeout: options.query_timeout,
        submitted_ttl: options.submitted_ttl,
        data,
        dropped_ttl: options.dropped_ttl,
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
        told: Mutex::default(),
        draining: AtomicBool::new(false),
        handed_over: AtomicBool::new(false),
        store_away: AtomicBool::new(false),
    });
    journaling.watch(&shared, &journal);
    let takeover = Takeover::new(Arc::clone(&shared), journaling);
    let background = [writing.boxed(), takeover.run(news).boxed()];
    for work in background {
        let work = until_stopped(Arc::clone(&shared), work);
        shared.tasks.spawn(work);
    }
    Ok(shared)
}

/// Seals the own journal and has the others take over what it holds.
async fn hand_over(shared: &Shared) {
    let (me, scribe) = (shared.driver.me(), &shared.driver.scribe);
    if let Err(error) = scribe.flush().await {
        tracing::warn!(%error, "the journal could not be brought up to date");
    }
    match shared.journaling.journals.seal(&me, &me).await {
        Ok(_) => {
            shared.handed_over.store(true, Ordering::Release);
            let by = me.clone();
            let sealed = Closed::Sealed { by };
            let closed = News::Closed(me.clone(), sealed);
            shared.driver.newsroom.tell(closed);
            shared.peers.tell_of_seal(shared, &me).await;
        }
        Err(error) => {
            tracing::warn!(%error, "cannot hand over; finishing what runs");
        }
    }
}

/// Leaves a journal behind that nobody has to look at, if it holds nothing any more.
async fn close_journal(shared: &Shared) {
    let (me, journals) = (shared.driver.me(), &shared.journaling.journals);
    // What waits is the end of queries; without it others would look for them.
    let _ = shared.driver.scribe.flush().await;
    let closed = async {
        let sealed = journals.seal(&me, &me).await?;
        if sealed.book.queries().next().is_none() {
            journals.mark_drained(&me, &me).await?;
            journals.remove_segments(&me).await?;
        }
        Ok::<_, paceline_store::JournalError>(())
    };
    if let Err(error) = closed.await {
        tracing::warn!(%error, "the journal could not be closed; another scheduler will");
    }
}

/// The state store, and the same with room for parts of results.
async fn open_state(
    options: &SchedulerOptions,
    registry: &Registry,
) -> Result<(StateStore, StateStore), StartError> {
    let environment = options.environment.iter().cloned();
    let location = StateLocation::parse(&options.state, &options.state_options, environment)?;
    let metrics = StoreMetrics::register(registry)?;
    let store = StateStore::open(&location, Limits::default(), metrics.clone())?;
    probe(&store).await?;
    ClusterIdentity::establish(&store).await?;
    let roomy = StateStore::open(&location, RESULT_LIMITS, metrics)?;
    Ok((store, roomy))
}

fn beacon(options: &SchedulerOptions, scheduler: SchedulerId, addresses: Addresses) -> Beacon {
    Beacon {
        scheduler,
        incarnation: Incarnation(Uuid::new_v4()),
        addresses,
        zone: options.zone.clone(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        beat: 0,
    }
}

/// Binds all ports before anything else is touched, so that a taken one is noticed first.
async fn listen(options: &SchedulerOptions) -> Result<Listeners, StartError> {
    let cluster = bind("the cluster", options.bind_cluster).await?;
    let flight = bind("Flight SQL", options.bind_flight).await?;
    let http = bind("HTTP", options.bind_http).await?;
    let reach = |listener: &TcpListener, bound: SocketAddr| {
        let address = listener.local_addr().unwrap_or(bound);
        match &options.advertise_host {
            Some(host) => Ok(format!("{host}:{}", address.port())),
            None if address.ip().is_unspecified() => Err(StartError::Advertise { address }),
            None => Ok(address.to_string()),
        }
    };
    let addresses = Addresses {
        cluster: reach(&cluster, options.bind_cluster)?,
        flight: reach(&flight, options.bind_flight)?,
        http: reach(&http, options.bind_http)?,
    };
    Ok(Listeners {
        cluster,
        flight,
        http,
        addresses,
    })
}

async fn bind(purpose: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen {
            purpose,
            address,
            source,
        })
}

/// Makes the tables of the configuration, unless the catalog has them as they are there.
async fn make_tables(shared: &Shared, options: &SchedulerOptions) -> Result<(), StartError> {
    for table in &options.tables {
        let failed = |error| StartError::Table {
            name: table.name.clone(),
            error,
        };
        let catalog = shared.catalog.current().await.map_err(failed)?;
        let settings = paceline_plan::SessionSettings::default();
        let planned = shared
            .planner
            .plan(&table.sql, vec![], &settings, &catalog, &[])
            .await
            .map_err(failed)?;
        let Planned::Change(Change::CreateTable { table: made, .. }) = planned else {
            return Err(failed(QueryError::new(
                ErrorClass::User,
                "its definition is no CREATE EXTERNAL TABLE statement",
            )));
        };
        if shared.catalog.defines(&made.schema, &made.name, &made.sql) {
            continue;
        }
        let change = Change::CreateTable {
            table: made,
            if_not_exists: false,
            or_replace: true,
        };
        let version = shared
            .catalog
            .change(change, &shared.driver.me(), None)
            .await
            .map_err(failed)?;
        shared.peers.tell_of_catalog(shared, version).await;
    }
    Ok(())
}
