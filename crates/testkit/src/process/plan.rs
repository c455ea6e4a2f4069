use std::fmt;
use std::path::{Path, PathBuf};

use super::Announced;
use super::hosts::Hosts;

/// What a process of a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Plans and drives queries.
    Scheduler,
    /// Runs tasks.
    Executor,
}

impl Role {
    /// The role as one lower-case word, which is also the subcommand that starts it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Scheduler => "scheduler",
            Role::Executor => "executor",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// The `paceline` executable.
    pub program: PathBuf,
    /// Below it lie the state store, the logs and every executor's exchange and spill directories.
    pub directory: PathBuf,
    /// How many schedulers there are.
    pub schedulers: usize,
    /// How many executors there are.
    pub executors: usize,
    /// Slots of each executor.
    pub slots: usize,
    /// Where the schedulers keep their state; none for a directory below `directory`.
    pub state: Option<String>,
    /// More flags for every scheduler.
    pub scheduler_flags: Vec<String>,
    /// More flags for every executor.
    pub executor_flags: Vec<String>,
    /// Where executors find the schedulers, if not at the addresses that these announce: the
    /// addresses of proxies, say.
    pub scheduler_addresses: Option<Vec<String>>,
    /// Whether everybody, clients included, reaches every process by way of proxies; see
    /// [`Doors`](super::Doors).
    pub doors: bool,
    pub(crate) hosts: Hosts,
}

impl ClusterPlan {
    /// Two schedulers and three executors of one slot each.
    pub fn new(program: impl Into<PathBuf>, directory: impl Into<PathBuf>) -> Self {
        ClusterPlan {
            program: program.into(),
            directory: directory.into(),
            schedulers: 2,
            executors: 3,
            slots: 1,
            state: None,
            scheduler_flags: Vec::new(),
            executor_flags: Vec::new(),
            scheduler_addresses: None,
            doors: false,
            hosts: Hosts::draw(),
        }
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    pub(crate) fn log(&self, role: Role, index: usize) -> PathBuf {
        self.logs().join(format!("{role}-{}.log", index + 1))
    }

    /// The arguments of one process. `again` holds the addresses it had before, if it is started
    /// for a second time: others know them.
    pub(crate) fn arguments(
        &self,
        role: Role,
        index: usize,
        schedulers: &[String],
        again: Option<&Announced>,
    ) -> Vec<String> {
        let mut arguments = vec![
            role.to_string(),
            "--announce".into(),
            "--with-parent".into(),
        ];
        let mut flag = |name: &str, value: String| {
            arguments.push(format!("--{name}"));
            arguments.push(value);
        };
        let port = |old: fn(&Announced) -> &str| {
            again
                .and_then(|announced| old(announced).rsplit_once(':'))
                .map_or("0".to_string(), |(_, port)| port.to_string())
        };
        flag("listen-host", self.hosts.inside().to_string());
        if self.doors {
            flag("listen-advertise-host", self.hosts.outside().to_string());
        }
        flag("listen-http-port", port(|a| &a.http));
        flag("listen-cluster-port", port(|a| &a.cluster));
        flag("listen-metrics-port", port(|a| &a.metrics));
        match role {
            Role::Scheduler => {
                flag("listen-flight-port", port(|a| &a.flight));
                let state = self.state.clone();
                let beside = || text(&self.directory.join("state"));
                flag("state-location", state.unwrap_or_else(beside));
                arguments.extend(self.scheduler_flags.iter().cloned());
            }
            Role::Executor => {
                let own = self.directory.join(format!("executor-{}", index + 1));
                flag("executor-schedulers", schedulers.join(","));
                flag("executor-slots", self.slots.to_string());
                flag("executor-directory", text(&own));
                arguments.extend(self.executor_flags.iter().cloned());
            }
        }
        arguments
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
