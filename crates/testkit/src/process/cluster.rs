mod links;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

pub use links::Links;

use super::hosts::past_doors;
use super::{Announced, ClusterError, ClusterPlan, Doors, Process, ProcessError, Role};
use crate::Traffic;
use crate::proxy::Callers;

const READY_LIMIT: Duration = Duration::from_secs(60);
/// Longer than a query waits for an executor (30 s): one that is told to stop serves what it holds of such
/// a query.
const STOP_LIMIT: Duration = Duration::from_secs(45);

/// Between two questions whether a cluster is ready.
const LONGEST_PAUSE: Duration = Duration::from_millis(40);

/// How often a process is started again on its former ports. Where a cluster has no address to itself, a
/// connection of somebody else's may have one of them for a moment.
const STARTS: usize = 5;

/// One process of a cluster, which may be down.
pub struct Node {
    role: Role,
    index: usize,
    /// What it announced when it last started.
    announced: Announced,
    process: Option<Process>,
    doors: Option<Doors>,
}

impl Node {
    fn of(role: Role, index: usize, process: Process, doors: Option<Doors>) -> Node {
        Node {
            role,
            index,
            announced: process.announced().clone(),
            process: Some(process),
            doors,
        }
    }

    /// Where it listens, or listened.
    pub fn announced(&self) -> &Announced {
        &self.announced
    }

    /// Its process, unless it was killed or stopped.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// What it announced, with addresses that lead past its proxies.
    pub fn past_doors(&self) -> Announced {
        let past = |address: &String| match address.is_empty() {
            true => String::new(),
            false => past_doors(address),
        };
        Announced {
            http: past(&self.announced.http),
            flight: past(&self.announced.flight),
            cluster: past(&self.announced.cluster),
            metrics: past(&self.announced.metrics),
        }
    }

    /// Whether it was started and neither killed nor stopped since.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// The proxies before its ports, if the plan wants them and it is up.
    pub fn doors(&self) -> Option<&Doors> {
        self.doors.as_ref()
    }

    /// The most memory its process ever held, in bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        super::peak_memory(self.process.as_ref()?.id()?)
    }

    /// Which one it is, for people.
    pub fn name(&self) -> String {
        format!("{} {}", self.role, self.index + 1)
    }
}

/// Schedulers and executors as child processes on free ports of this machine. They end with this
/// value.
pub struct Cluster {
    plan: ClusterPlan,
    schedulers: Vec<Node>,
    executors: Vec<Node>,
    /// For all doors.
    callers: Arc<Callers>,
}

impl Cluster {
    /// Starts all processes and waits until every scheduler is ready and knows every executor.
    ///
    /// # Errors
    /// [`ClusterError`] naming the process and its log.
    pub async fn start(plan: ClusterPlan) -> Result<Cluster, ClusterError> {
        for path in [plan.logs(), plan.directory.join("state")] {
            fs::create_dir_all(&path).map_err(|source| ClusterError::Directory { path, source })?;
        }
        let mut cluster = Cluster {
            plan,
            schedulers: Vec::new(),
            executors: Vec::new(),
            callers: Arc::default(),
        };
        // One after the other: each finds the beacons of those before it.
        for _ in 0..cluster.plan.schedulers {
            cluster.add(Role::Scheduler).await?;
        }
        cluster.add_executors().await?;
        cluster.ready().await?;
        Ok(cluster)
    }

    /// Starts the executors of the plan, all at once.
    async fn add_executors(&mut self) -> Result<(), ClusterError> {
        let cluster = &*self;
        let launches =
            (0..cluster.plan.executors).map(|index| cluster.launch(Role::Executor, index, None));
        let launched = futures::future::try_join_all(launches).await?;
        for (index, (process, doors)) in launched.into_iter().enumerate() {
            let node = Node::of(Role::Executor, index, process, doors);
            self.executors.push(node);
        }
        Ok(())
    }

    /// Starts one more process and says which one it is.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn add(&mut self, role: Role) -> Result<usize, ClusterError> {
        let index = self.nodes(role).len();
        let (process, doors) = self.launch(role, index, None).await?;
        let node = Node::of(role, index, process, doors);
        self.nodes_mut(role).push(node);
        Ok(index)
    }

    /// Starts a process again that was killed or stopped, on the ports it had.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn restart(&mut self, role: Role, index: usize) -> Result<(), ClusterError> {
        let before = self.nodes(role).get(index).map(|n| n.announced.clone());
        let mut launched = self.launch(role, index, before.as_ref()).await;
        for _ in 1..STARTS {
            if launched.is_ok() {
                break;
            }
            launched = self.launch(role, index, before.as_ref()).await;
        }
        let (process, doors) = launched?;
        if let Some(node) = self.nodes_mut(role).get_mut(index) {
            node.announced = process.announced().clone();
            node.process = Some(process);
            node.doors = doors;
        }
        Ok(())
    }

    /// Tells executors that are started from now on other addresses of the schedulers: those of
    /// proxies, say.
    pub fn set_scheduler_addresses(&mut self, addresses: Vec<String>) {
        self.plan.scheduler_addresses = Some(addresses);
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn kill(&mut self, role: Role, index: usize) -> Result<(), ClusterError> {
        let callers = Arc::clone(&self.callers);
        if let Some(node) = self.nodes_mut(role).get_mut(index)
            && let Some(mut process) = node.process.take()
        {
            // Another process may have its number later.
            if let Some(id) = process.id() {
                callers.set(id, Traffic::Flows);
            }
            process.kill().await?;
            // A dead process refuses connections; so do its proxies from now on.
            node.doors = None;
        }
        Ok(())
    }

    /// SIGKILL to every process of a role, and only then waits until they are gone: none has time to do
    /// anything about the death of another one.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn kill_all(&mut self, role: Role) -> Result<(), ClusterError> {
        for node in self.nodes_mut(role) {
            if let Some(process) = &mut node.process {
                process.start_to_kill()?;
            }
        }
        for index in 0..self.nodes(role).len() {
            self.kill(role, index).await?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// If it does not end in time.
    pub async fn stop(&mut self, role: Role, index: usize) -> Result<(), ClusterError> {
        if let Some(node) = self.nodes_mut(role).get_mut(index)
            && let Some(mut process) = node.process.take()
        {
            let stopped = process.stop(STOP_LIMIT).await;
            node.doors = None;
            stopped?;
        }
        Ok(())
    }

    /// Ends all processes in order: executors first, so that no scheduler mourns them for long.
    ///
    /// # Errors
    /// If one does not end in time; the others are ended all the same.
    pub async fn shut_down(&mut self) -> Result<(), ClusterError> {
        let mut outcome = Ok(());
        for role in [Role::Executor, Role::Scheduler] {
            let stops = self.nodes_mut(role).iter_mut().filter_map(|node| {
                let mut process = node.process.take()?;
                Some(async move { process.stop(STOP_LIMIT).await })
            });
            for stopped in futures::future::join_all(stops).await {
                if let Err(error) = stopped {
                    outcome = Err(error.into());
                }
            }
        }
        outcome
    }

    /// The schedulers, the first one first.
    pub fn schedulers(&self) -> &[Node] {
        &self.schedulers
    }

    /// The executors.
    pub fn executors(&self) -> &[Node] {
        &self.executors
    }

    /// One process.
    pub fn node(&mut self, role: Role, index: usize) -> Option<&mut Node> {
        self.nodes_mut(role).get_mut(index)
    }

    /// Everything the cluster writes.
    pub fn directory(&self) -> &Path {
        &self.plan.directory
    }

    /// Where the logs are.
    pub fn logs(&self) -> PathBuf {
        self.plan.logs()
    }

    /// Waits until every running scheduler says that it is ready and knows every running executor.
    ///
    /// # Errors
    /// [`ClusterError::NotReady`] with what the slowest one said last.
    pub async fn ready(&self) -> Result<(), ClusterError> {
        let running = |nodes: &[Node]| nodes.iter().filter(|n| n.process.is_some()).count();
        let executors = running(&self.executors);
        let deadline = Instant::now() + READY_LIMIT;
        for node in self.schedulers.iter().filter(|n| n.process.is_some()) {
            let mut pause = Duration::from_millis(5);
            loop {
                let last = match knows(&node.announced.http, executors).await {
                    Ok(()) => break,
                    Err(last) => last,
                };
                if Instant::now() >= deadline {
                    return Err(ClusterError::NotReady {
                        scheduler: node.name(),
                        limit: READY_LIMIT,
                        last,
                    });
                }
                #[expect(
                    clippy::disallowed_methods,
                    reason = "nothing but a question over HTTP tells when another process is ready"
                )]
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        Ok(())
    }

    async fn launch(
        &self,
        role: Role,
        index: usize,
        again: Option<&Announced>,
    ) -> Result<(Process, Option<Doors>), ClusterError> {
        let schedulers = self.plan.scheduler_addresses.clone().unwrap_or_else(|| {
            self.schedulers
                .iter()
                .map(|node| node.announced.cluster.clone())
                .collect()
        });
        let arguments = self.plan.arguments(role, index, &schedulers, again);
        let name = format!("{role} {}", index + 1);
        let log = self.plan.log(role, index);
        let process = Process::start(&name, &self.plan.program, &arguments, &log).await?;
        let doors = match self.plan.doors {
            true => Some(Doors::of(process.announced(), self.plan.hosts, &self.callers).await),
            false => None,
        };
        let doors = doors.transpose().map_err(|source| ProcessError::System {
            name,
            what: "open proxies before the ports of",
            source,
        })?;
        Ok((process, doors))
    }

    fn nodes(&self, role: Role) -> &[Node] {
        match role {
            Role::Scheduler => &self.schedulers,
            Role::Executor => &self.executors,
        }
    }

    fn nodes_mut(&mut self, role: Role) -> &mut Vec<Node> {
        match role {
            Role::Scheduler => &mut self.schedulers,
            Role::Executor => &mut self.executors,
        }
    }
}

/// Asks a scheduler whether it is ready and knows so many executors; if not, what it said.
async fn knows(http: &str, executors: usize) -> Result<(), String> {
    // It is on this machine, whatever the environment has for a proxy.
    let direct = reqwest::Client::builder().no_proxy().build();
    let direct = direct.map_err(|error| error.to_string())?;
    let get = |path: &'static str| {
        let asked = direct.get(format!("http://{http}{path}")).send();
        async move {
            let answer = asked.await.map_err(|error| error.to_string())?;
            let status = answer.status();
            let text = answer.text().await.map_err(|error| error.to_string())?;
            Ok::<_, String>((status, text))
        }
    };
    let (status, text) = get("/v1/ready").await?;
    // Without executors no scheduler calls itself ready.
    if !status.is_success() && executors > 0 {
        return Err(format!("GET /v1/ready: {status} {text}"));
    }
    let (_, text) = get("/v1/status").await?;
    let found = serde_json::from_str::<Value>(&text)
        .ok()
        .and_then(|status| Some(status.get("executors")?.as_array()?.len()))
        .ok_or_else(|| format!("GET /v1/status: {text}"))?;
    if found == executors {
        Ok(())
    } else {
        Err(format!("it knows {found} of {executors} executors"))
    }
}
