//! What there has to be before a scheduler serves clients: ports, state, the tables of its configuration, and
//! contact with the other schedulers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use paceline_model::{ErrorClass, Incarnation, QueryError, SchedulerId};
use paceline_plan::{Change, Planned};
use paceline_store::{
    Addresses, Beacon, ClusterIdentity, Limits, StateLocation, StateStore, StoreMetrics, probe,
};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::time::timeout;
use uuid::Uuid;

use crate::error::StartError;
use crate::options::SchedulerOptions;
use crate::shared::Shared;

/// Parts of results are larger than other state.
const RESULT_LIMITS: Limits = Limits {
    request: Duration::from_secs(30),
    total: Duration::from_secs(60),
};

/// How long the schedulers that live are given to show that this one and they reach each other.
const MEETING: Duration = Duration::from_secs(1);

/// The ports, bound, and how others reach them.
pub(crate) struct Listeners {
    pub(crate) cluster: TcpListener,
    pub(crate) flight: TcpListener,
    pub(crate) http: TcpListener,
    pub(crate) addresses: Addresses,
}

/// The state store, and the same with room for parts of results.
pub(crate) async fn open_state(
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

/// The beacon that a scheduler begins with.
pub(crate) fn beacon(
    options: &SchedulerOptions,
    scheduler: SchedulerId,
    addresses: Addresses,
) -> Beacon {
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
pub(crate) async fn listen(options: &SchedulerOptions) -> Result<Listeners, StartError> {
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

/// Waits until this scheduler is in contact with all that live, but for those that do not answer. Before, it
/// would have to look for changes of the catalog for each of its clients.
pub(crate) async fn meet(shared: &Shared) {
    let mut contacts = shared.membership.contacts();
    let met = async {
        while shared.membership.awaits_contact(Instant::now()) {
            // It ends with the scheduler.
            if contacts.changed().await.is_err() {
                return;
            }
        }
    };
    if timeout(MEETING, met).await.is_err() {
        tracing::info!("not in contact with all other schedulers yet");
    }
    // Nor does the first of them.
    if let Err(error) = shared.catalog().await {
        tracing::debug!(%error, "the catalog is read before the first statement is planned");
    }
}

/// Makes the tables of the configuration, unless the catalog has them as they are there.
pub(crate) async fn make_tables(
    shared: &Shared,
    options: &SchedulerOptions,
) -> Result<(), StartError> {
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
