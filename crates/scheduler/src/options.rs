//! What a scheduler is told before it starts.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use paceline_model::ByteSize;

/// A table that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredTable {
    /// Its name, as the statement creates it.
    pub name: String,
    /// The `CREATE EXTERNAL TABLE` statement that makes it.
    pub sql: String,
}

/// Everything that shapes one scheduler. The defaults suit one process on one machine.
#[derive(Clone)]
pub struct SchedulerOptions {
    /// The first part of the scheduler's id; the rest is drawn anew at every start.
    pub name: String,
    /// Where executors and other schedulers are listened for. Port 0 takes any free one.
    pub bind_cluster: SocketAddr,
    /// Where Flight SQL listens.
    pub bind_flight: SocketAddr,
    /// Where HTTP listens.
    pub bind_http: SocketAddr,
    /// The host under which others reach all three ports; needed if they bind wildcard addresses.
    pub advertise_host: Option<String>,
    /// The zone it stands in; empty if there are none.
    pub zone: String,
    /// Where the shared state lies: a directory or the URL of an object store.
    pub state: String,
    /// How the state's object store is reached: endpoint, region, credentials. Never printed.
    pub state_options: BTreeMap<String, String>,
    /// What the process was started with, from which object stores read credentials. Never printed.
    pub environment: Vec<(String, String)>,
    /// How the object stores of tables are reached. Never printed.
    pub object_store: BTreeMap<String, String>,
    /// Where the files of managed tables lie: a directory or the URL of an object store, which all
    /// schedulers and executors reach. Empty: `data` beside the state.
    pub data_location: String,
    /// Tables that are made at start, unless they are there.
    pub tables: Vec<ConfiguredTable>,
    /// How often the beacon is written and others' are read.
    pub beat: Duration,
    /// How long another scheduler's beacon may stand still before its queries are taken over. One whose
    /// process died is noticed at once, by its connections.
    pub takeover_after: Duration,
    /// A query that ends sooner is never written to the journal.
    pub linger: Duration,
    /// How often an executor says that it is alive.
    pub heartbeat: Duration,
    /// How long an executor may be silent before it is held for lost.
    pub executor_timeout: Duration,
    /// How long an executor whose stream broke, but whose port still answers, may take to attach
    /// again before it is held for lost.
    pub reattach_grace: Duration,
    /// How long queries wait while there is no executor.
    pub no_executor_grace: Duration,
    /// Plans that scan no more than this run as one task on one executor.
    pub small_plan: ByteSize,
    /// Results of a task up to this size come back with its final state.
    pub inline_limit: ByteSize,
    /// How long a result is kept after it was read to its end.
    pub result_ttl: Duration,
    /// How long a result is kept that nobody has read to its end.
    pub unread_ttl: Duration,
    /// How long the stored result of a submitted query is kept, unless its client says.
    pub submitted_ttl: Duration,
    /// How long the files of a dropped table are kept for queries that were planned before.
    pub dropped_ttl: Duration,
    /// How long seals, claims and outcomes stay that have no meaning any more. Longer than any process
    /// may sleep and any request may be on its way: a name that was deleted could be created again.
    pub garbage_after: Duration,
    /// How long a query runs on while nobody waits for it.
    pub abandon_after: Duration,
    /// Queries that run at the same time.
    pub max_running_queries: usize,
    /// Queries that wait for their turn.
    pub max_queued_queries: usize,
    /// Attempts at one task.
    pub max_attempts: u32,
    /// The longest that any query may take; none without it.
    pub query_timeout: Option<Duration>,
    /// Memory in which one result that is being read may lie.
    pub read_budget: ByteSize,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        let any = |port| SocketAddr::from(([127, 0, 0, 1], port));
        SchedulerOptions {
            name: "scheduler".to_string(),
            bind_cluster: any(50052),
            bind_flight: any(50051),
            bind_http: any(8090),
            advertise_host: None,
            zone: String::new(),
            state: "./paceline-state".to_string(),
            state_options: BTreeMap::new(),
            environment: Vec::new(),
            object_store: BTreeMap::new(),
            data_location: String::new(),
            tables: Vec::new(),
            beat: Duration::from_secs(1),
            takeover_after: Duration::from_secs(3),
            linger: Duration::from_millis(50),
            heartbeat: Duration::from_millis(500),
            executor_timeout: Duration::from_secs(5),
            reattach_grace: Duration::from_secs(2),
            no_executor_grace: Duration::from_secs(30),
            small_plan: ByteSize::mib(32),
            inline_limit: ByteSize::mib(1),
            result_ttl: Duration::from_secs(30),
            unread_ttl: Duration::from_secs(600),
            submitted_ttl: Duration::from_secs(86_400),
            dropped_ttl: Duration::from_secs(3600),
            garbage_after: Duration::from_secs(7 * 86_400),
            abandon_after: Duration::from_secs(60),
            max_running_queries: 64,
            max_queued_queries: 1000,
            max_attempts: 4,
            query_timeout: None,
            read_budget: ByteSize::mib(16),
        }
    }
}

impl fmt::Debug for SchedulerOptions {
    /// Without what may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerOptions")
            .field("name", &self.name)
            .field("bind_cluster", &self.bind_cluster)
            .field("bind_flight", &self.bind_flight)
            .field("bind_http", &self.bind_http)
            .field("advertise_host", &self.advertise_host)
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}
