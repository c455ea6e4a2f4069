//! All options there are, by section.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use paceline_model::ByteSize;

use super::section::{Section, section};
use super::{Auto, Codec, Masked, Millis, Table};

const fn seconds(count: u64) -> Millis {
    Millis(Duration::from_secs(count))
}

section! {
    /// Where a process listens, and how others reach it.
    Listen = "listen" {
        /// The address of all ports. The default serves this machine alone; 0.0.0.0 serves
        /// every network that the machine is in. There is no authentication yet: see to it that
        /// only those reach the ports who may read the data.
        host: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST),
        /// HTTP: queries, status, health.
        http_port: u16 = 8090,
        /// Flight SQL (schedulers).
        flight_port: u16 = 50051,
        /// The cluster's own port: executors attach to that of a scheduler; executors and
        /// schedulers read exchanges from that of an executor.
        cluster_port: u16 = 50052,
        /// Prometheus metrics, at /metrics.
        metrics_port: u16 = 9090,
        /// The host name or address under which clients and the rest of the cluster reach this
        /// process. Empty: that of `host`. Needed where `host` is 0.0.0.0 or ::.
        advertise_host: String = String::new(),
        /// The zone that this process stands in; empty if there are none.
        zone: String = String::new(),
    }
}

section! {
    /// The object store in which the schedulers of a cluster keep what they share.
    State = "state" {
        /// A directory, file:///…, s3://bucket/prefix, gs://bucket/prefix or
        /// az://container/prefix. The same for all schedulers of one cluster, and for no others.
        /// Empty: a directory `state` in the user's data directory, which serves schedulers on
        /// this machine alone.
        location: String = String::new(),
        /// Options of the store, such as endpoint, region, access_key_id, secret_access_key,
        /// allow_http. What is not given here is taken from the usual variables (AWS_…, GOOGLE_…,
        /// AZURE_…). A directory has one: sync, which is true unless it is said to be false; then
        /// what was acknowledged may be lost, or damaged, when the machine loses its power.
        options: Masked = Masked::default(),
    }
}

section! {
    /// The object stores in which tables lie.
    Storage = "storage" {
        /// How they are reached, as in state.options. What is not given here is taken from the
        /// usual variables (AWS_…, GOOGLE_…, AZURE_…).
        options: Masked = Masked::default(),
    }
}

section! {
    /// How a scheduler plans and drives queries.
    Scheduler = "scheduler" {
        /// The first part of the scheduler's id; the rest is drawn anew at every start.
        name: String = "scheduler".to_string(),
        /// How often a scheduler shows its peers that it is alive.
        beat: Millis = seconds(1),
        /// For how long another scheduler may show no sign of life before its queries are taken
        /// over. One whose process died is noticed at once, by its connections.
        takeover_after: Millis = seconds(3),
        /// A query that ends sooner leaves no trace in the state store.
        linger: Millis = Millis(Duration::from_millis(50)),
        /// How often executors are expected to say that they are alive.
        heartbeat: Millis = Millis(Duration::from_millis(500)),
        /// For how long an executor may be silent before it is given up.
        executor_timeout: Millis = seconds(5),
        /// How long an executor whose stream broke, but whose port still answers, may take to
        /// attach again before it is given up.
        reattach_grace: Millis = seconds(2),
        /// How long a query waits while there is no executor at all.
        no_executor_grace: Millis = seconds(30),
        /// Queries that are estimated to read less than this run as one task on one executor.
        small_plan_bytes: ByteSize = ByteSize::mib(32),
        /// Results of a task up to this size travel with the report of its end.
        inline_limit: ByteSize = ByteSize::mib(1),
        /// How long a result can be read again after it was read to its end.
        result_ttl: Millis = seconds(30),
        /// How long a result is kept that nobody has read to its end.
        unread_ttl: Millis = seconds(600),
        /// How long the stored result of a submitted query is kept, unless its client says.
        submitted_ttl: Millis = seconds(86_400),
        /// Where the files lie of tables that CREATE TABLE made: a directory or URL that all
        /// schedulers and executors reach, by storage.options. It belongs to this cluster alone.
        /// Empty: `data` below the state's location.
        data_location: String = String::new(),
        /// How long the files of a dropped table are kept, for queries that were planned before.
        dropped_ttl: Millis = seconds(3600),
        /// How long seals, claims and outcomes stay that have no meaning any more; longer than any
        /// process may sleep and any request may be on its way.
        garbage_after: Millis = seconds(604_800),
        /// How long a query runs on while nobody waits for it.
        abandon_after: Millis = seconds(60),
        /// The longest that any query may take; 0s: no limit.
        query_timeout: Millis = seconds(0),
        /// How many queries run at a time; further ones wait.
        max_running_queries: usize = 64,
        /// How many queries may wait; further ones are told to try again.
        max_queued_queries: usize = 1000,
        /// How many attempts a task has before its query fails.
        max_attempts: u32 = 4,
        /// Memory in which one result that is being read may lie.
        read_budget: ByteSize = ByteSize::mib(16),
    }
}

section! {
    /// How an executor runs tasks.
    Executor = "executor" {
        /// The first part of the executor's id; the rest is drawn anew at every start.
        name: String = "executor".to_string(),
        /// The cluster ports of the schedulers, as host:port. A name with several addresses stands
        /// for a scheduler at each. One that works is enough: every scheduler tells of all others.
        schedulers: Vec<String> = vec!["127.0.0.1:50052".to_string()],
        /// How many partitions run at a time, each on a thread of its own; auto: as many as there
        /// are cores.
        slots: Auto<u32> = Auto::Auto,
        /// Memory for the operators of queries; beyond it they spill to disk. auto: 70 % of the
        /// memory that this process may have.
        memory_limit: Auto<ByteSize> = Auto::Auto,
        /// Memory for exchange outputs; beyond it they go to disk. auto: a quarter of
        /// memory_limit.
        exchange_memory: Auto<ByteSize> = Auto::Auto,
        /// Memory in which one task holds what it has fetched from exchanges and not yet read.
        read_budget: ByteSize = ByteSize::mib(16),
        /// Where exchange outputs and spilled rows go. Each executor uses a directory of its own
        /// within, and removes it at its end; what one that was killed left there goes when the
        /// next one starts. Empty: the system's directory for temporary files.
        directory: String = String::new(),
        /// Disk for the rows that operators spill. auto: DataFusion's own limit.
        spill_limit: Auto<ByteSize> = Auto::Auto,
        /// How exchange outputs are compressed on disk and between machines: none, lz4 or zstd.
        compression: Codec = Codec::Lz4,
        /// How often every scheduler hears from this executor at least.
        heartbeat: Millis = Millis(Duration::from_millis(500)),
        /// How long an executor that was told to stop waits for its tasks to finish and its
        /// outputs to be read.
        drain_timeout: Millis = seconds(300),
        /// How long the outputs of a query are kept that no attached scheduler owns.
        orphan_ttl: Millis = seconds(600),
        /// The same for an executor that was told to stop.
        draining_orphan_ttl: Millis = seconds(10),
        /// How many tasks may wait for a slot.
        queue_limit: usize = 10_000,
    }
}

section! {
    /// What a process says about what it does.
    Log = "log" {
        /// What is logged: error, warn, info, debug or trace, also by module, as in
        /// `info,paceline_scheduler=debug`.
        level: String = "info".to_string(),
        /// One JSON object a line instead of text.
        json: bool = false,
    }
}

/// What a process is; each role has its own sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `paceline-scheduler`
    Scheduler,
    /// `paceline-executor`
    Executor,
    /// Both in one process.
    Standalone,
}

impl Role {
    /// The names of the sections that the role reads.
    pub fn sections(self) -> &'static [&'static str] {
        match self {
            Role::Scheduler => &["listen", "state", "storage", "scheduler", "log"],
            Role::Executor => &["listen", "storage", "executor", "log"],
            Role::Standalone => &["listen", "state", "storage", "scheduler", "executor", "log"],
        }
    }
}

/// All options. Every role accepts a file with all sections and reads its own, so that one file
/// can serve a whole cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configuration {
    /// `[listen]`
    pub listen: Listen,
    /// `[state]`
    pub state: State,
    /// `[storage]`
    pub storage: Storage,
    /// `[scheduler]`
    pub scheduler: Scheduler,
    /// `[executor]`
    pub executor: Executor,
    /// `[log]`
    pub log: Log,
    /// `[[tables]]`
    pub tables: Vec<Table>,
}

impl Configuration {
    /// Every section in the order in which it is printed.
    pub fn sections(&self) -> [&dyn Section; 6] {
        [
            &self.listen,
            &self.state,
            &self.storage,
            &self.scheduler,
            &self.executor,
            &self.log,
        ]
    }

    pub(super) fn section_mut(&mut self, name: &str) -> Option<&mut dyn Section> {
        let sections: [&mut dyn Section; 6] = [
            &mut self.listen,
            &mut self.state,
            &mut self.storage,
            &mut self.scheduler,
            &mut self.executor,
            &mut self.log,
        ];
        sections.into_iter().find(|section| section.name() == name)
    }

    /// Where the state lies: the location that was given, or a directory of the user's.
    pub fn state_location(&self) -> String {
        if self.state.location.is_empty() {
            data_directory().join("state").display().to_string()
        } else {
            self.state.location.clone()
        }
    }
}

/// Where programs keep a user's data, by the rules of XDG.
fn data_directory() -> PathBuf {
    user_directory("XDG_DATA_HOME", ".local/share")
}

/// Where programs keep what can be made again.
pub(crate) fn cache_directory() -> PathBuf {
    user_directory("XDG_CACHE_HOME", ".cache")
}

fn user_directory(variable: &str, below_home: &str) -> PathBuf {
    let given = std::env::var_os(variable).map(PathBuf::from);
    given
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(below_home)))
        .unwrap_or_else(std::env::temp_dir)
        .join("paceline")
}
