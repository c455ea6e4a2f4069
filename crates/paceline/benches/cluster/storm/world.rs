//! The cluster that is struck, and looking at it past all that is broken.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use paceline::client::{Answer, ClientError, Flight, Http, QueryChoice};
use paceline_frontend::{ClusterStatus, QueryReport};
use paceline_model::{ErrorClass, QueryId, SchedulerId};
use paceline_store::StateLocation;
use paceline_testkit::{Cluster, ClusterPlan, Dataset, Reference, Role, Scale, compare};
use tokio::time::timeout;

use super::forecast::COUNT;
use super::inserts;
use super::state::State;

/// How long a process may take to say how things are, when it may be frozen.
pub(crate) const GLANCE: Duration = Duration::from_secs(1);

/// For how long a scheduler may show no sign of life before it is taken over.
pub(crate) const TAKEOVER_AFTER: Duration = Duration::from_millis(1500);

/// For how long a result is kept that was read. So long somebody knows of its query, unless they were all
/// lost that did.
pub(crate) const RESULT_TTL: Duration = Duration::from_secs(12);

/// The most queries that a list has.
const LONGEST_LIST: usize = 1000;

/// Where clients find the schedulers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses {
    pub(crate) flight: Vec<String>,
    pub(crate) http: Vec<String>,
}

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    directory: Option<tempfile::TempDir>,
    /// What they keep in the store.
    pub(crate) stored: State,
    /// Past all proxies.
    looks: Vec<Http>,
    ids: Vec<SchedulerId>,
    reference: Reference,
    expected: HashMap<String, paceline_testkit::Answer>,
}

fn plan(directory: &Path) -> ClusterPlan {
    let words = |text: &str| text.split_whitespace().map(String::from).collect();
    let mut plan = ClusterPlan::new(env!("CARGO_BIN_EXE_paceline"), directory);
    plan.schedulers = COUNT;
    plan.executors = COUNT;
    plan.doors = true;
    // Executors are struck more often here while one task runs than the usual four attempts allow for.
    plan.scheduler_flags = words(
        "--scheduler-small-plan-bytes 0 --scheduler-inline-limit 64KiB \
         --scheduler-read-budget 1MiB --scheduler-beat 300ms \
         --scheduler-executor-timeout 2s --scheduler-reattach-grace 1s \
         --scheduler-unread-ttl 30s --scheduler-abandon-after 20s \
         --scheduler-submitted-ttl 30s --scheduler-dropped-ttl 20s \
         --scheduler-max-attempts 12",
    );
    for (flag, time) in [
        ("--scheduler-takeover-after", TAKEOVER_AFTER),
        ("--scheduler-result-ttl", RESULT_TTL),
    ] {
        let time = format!("{}ms", time.as_millis());
        plan.scheduler_flags.extend([flag.to_string(), time]);
    }
    plan.executor_flags = words("--executor-memory-limit 1GiB --executor-orphan-ttl 20s");
    plan
}

impl World {
    pub(crate) async fn start() -> Result<World, String> {
        let directory = tempfile::tempdir().map_err(text)?;
        let cluster = Cluster::start(plan(directory.path())).await.map_err(text)?;
        let data = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let scale = Scale::new(0.1).map_err(text)?;
        let data = Dataset::find_or_generate(data, scale, 2, &|_| ControlFlow::Continue(()))
            .map_err(text)?;
        let nodes = cluster.schedulers().iter();
        let looks = nodes.map(|node| Http::new(&node.past_doors().http));
        let state = cluster.directory().join("state").display().to_string();
        let state = StateLocation::parse(&state, &Default::default(), []).map_err(text)?;
        let world = World {
            stored: State::open(&state)?,
            looks: looks.collect(),
            cluster,
            directory: Some(directory),
            ids: vec![SchedulerId::new(""); COUNT],
            reference: Reference::with_tables(&data, 2).await.map_err(text)?,
            expected: HashMap::new(),
        };
        let first = world.cluster.schedulers().first().ok_or("no scheduler")?;
        let first = first.announced().flight.clone();
        let mut flight = Flight::connect(&first).await.map_err(text)?;
        let written = inserts::CREATE.map(String::from);
        for statement in data.create_statements().into_iter().chain(written) {
            flight.run(&statement).await.map_err(text)?;
        }
        Ok(world)
    }

    /// Leaves everything on the disk, and says where the logs are.
    pub(crate) fn keep(&mut self) -> PathBuf {
        if let Some(directory) = self.directory.take() {
            let _ = directory.keep();
        }
        self.cluster.logs()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.cluster.directory().join("state")
    }

    /// Where clients find the schedulers.
    pub(crate) fn doors(&self) -> Addresses {
        let mut addresses = Addresses::default();
        for node in self.cluster.schedulers() {
            addresses.flight.push(node.announced().flight.clone());
            addresses.http.push(node.announced().http.clone());
        }
        addresses
    }

    /// A way to ask a scheduler past all proxies.
    pub(crate) fn look(&self, scheduler: usize) -> Option<Http> {
        self.looks.get(scheduler).cloned()
    }

    /// What a scheduler says of the cluster, if it can.
    pub(crate) async fn status(&self, scheduler: usize) -> Option<ClusterStatus> {
        let look = self.looks.get(scheduler)?.status();
        timeout(GLANCE, look).await.ok()?.ok()
    }

    /// Learns who is who.
    pub(crate) async fn learn_ids(&mut self) {
        for scheduler in 0..COUNT {
            if let Some(status) = self.status(scheduler).await
                && let Some(id) = self.ids.get_mut(scheduler)
            {
                *id = status.scheduler;
            }
        }
    }

    pub(crate) fn id(&self, scheduler: usize) -> SchedulerId {
        self.ids
            .get(scheduler)
            .cloned()
            .unwrap_or_else(|| SchedulerId::new(""))
    }

    pub(crate) fn scheduler_named(&self, id: &SchedulerId) -> Option<usize> {
        self.ids.iter().position(|known| known == id)
    }

    /// How far a query has come, as one of these schedulers says that can.
    pub(crate) async fn report(&self, query: QueryId, of: &[usize]) -> Option<QueryReport> {
        for scheduler in of {
            if let Some(Some(report)) = self.word(query, *scheduler, GLANCE).await {
                return Some(report);
            }
        }
        None
    }

    /// What a scheduler says of a query: none if it does not answer, and none within that if it says that
    /// there is no such query.
    pub(crate) async fn word(
        &self,
        query: QueryId,
        of: usize,
        patience: Duration,
    ) -> Option<Option<QueryReport>> {
        let look = self.looks.get(of)?.query(query);
        match timeout(patience, look).await.ok()? {
            Ok(report) => Some(Some(report)),
            Err(ClientError::Refused { class, .. }) if class == ErrorClass::NotFound.as_str() => {
                Some(None)
            }
            Err(_) => None,
        }
    }

    /// Finds a query by its statement, at any scheduler that runs: in one of these states, or in any.
    pub(crate) async fn find(&self, sql: &str, states: Option<&str>) -> Option<QueryId> {
        let choice = QueryChoice {
            state: states.map(String::from),
            limit: Some(LONGEST_LIST),
            ..QueryChoice::default()
        };
        for look in &self.looks {
            if let Ok(Ok(list)) = timeout(GLANCE, look.queries(&choice)).await
                && let Some(found) = list.queries.iter().find(|report| report.sql == sql)
            {
                return Some(found.query_id);
            }
        }
        None
    }

    /// The names of what lies in a scheduler's journal.
    pub(crate) fn journal(&self, id: &SchedulerId) -> BTreeSet<String> {
        names(&self.state().join("journal").join(id.as_str()))
    }

    /// The epochs at which a query was claimed.
    pub(crate) fn claims(&self, query: QueryId) -> BTreeSet<u64> {
        let names = names(&self.state().join("owners").join(query.to_string()));
        names.iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Compares an answer with that of one DataFusion process.
    pub(crate) async fn check(&mut self, sql: &str, answer: &Answer) -> Result<(), String> {
        // What follows the statement only tells queries apart.
        let sql = sql.split(" --").next().unwrap_or(sql);
        if !self.expected.contains_key(sql) {
            let expected = self.of_one_process(sql).await?;
            self.expected.insert(sql.to_string(), expected);
        }
        let expected = self.expected.get(sql).ok_or("no expected answer")?;
        agrees(expected, answer)
    }

    /// What one DataFusion process answers.
    pub(crate) async fn of_one_process(
        &self,
        sql: &str,
    ) -> Result<paceline_testkit::Answer, String> {
        self.reference.run(sql).await.map_err(text)
    }

    pub(crate) async fn restart(&mut self, role: Role, index: usize) -> Result<(), String> {
        self.cluster.restart(role, index).await.map_err(text)
    }

    /// Starts everything again that is down, and waits until everybody knows everybody.
    pub(crate) async fn heal(&mut self) -> Result<(), String> {
        for role in [Role::Scheduler, Role::Executor] {
            for index in 0..COUNT {
                if self
                    .cluster
                    .node(role, index)
                    .is_some_and(|node| !node.is_up())
                {
                    self.restart(role, index).await?;
                }
            }
        }
        self.cluster.ready().await.map_err(text)
    }
}

/// Whether an answer is that of one DataFusion process.
pub(crate) fn agrees(expected: &paceline_testkit::Answer, answer: &Answer) -> Result<(), String> {
    compare(
        (&expected.schema, &expected.batches),
        (&answer.schema, &answer.batches),
        &expected.order,
    )
    .map_err(|difference| format!("a wrong answer: {difference}"))
}

/// The names in a directory; none if there is no such directory.
pub(crate) fn names(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// All files below a directory.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut pending = vec![directory.to_path_buf()];
    let mut files = Vec::new();
    while let Some(path) = pending.pop() {
        match path.is_dir() {
            true => pending.extend(names(&path).into_iter().map(|name| path.join(name))),
            false => files.push(path),
        }
    }
    // Of what went meanwhile, and of a directory that never was, there is nothing.
    files.retain(|path| path.exists());
    files
}

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
