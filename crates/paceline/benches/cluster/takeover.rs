//! How long a query is without an owner: from the blow at its scheduler until a survivor has told the
//! executors that it drives the query now.
//!
//! A process that was killed is known by its connections. One that is frozen keeps them and refuses none;
//! one that is cut off goes on writing its beacon, and only proxies, by which all reach each other, keep
//! it from answering and from asking: both are known by their silence alone.
//!
//! The moment is read off the survivor's status, asked again and again, so each figure is too large by the
//! time between two questions.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use paceline::client::Http;
use paceline_frontend::QueryReport;
use paceline_model::{QueryId, SchedulerId};
use paceline_testkit::{Cluster, Doors, Process, Role, Traffic};
use tokio::time::sleep;

use crate::stage::{Failure, Stage, words};

/// For how long a scheduler may show no sign of life before it is taken over.
const TAKEOVER_AFTER: Duration = Duration::from_secs(3);

/// What a takeover may take beside that.
const SECOND: Duration = Duration::from_secs(1);

/// A query of that age, in seconds, is in its owner's journal.
const JOURNALED: f64 = 0.3;

/// Between two questions.
const LOOK: Duration = Duration::from_millis(2);

/// Within which everything is so that is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// So much work that no owner is struck too late.
const SLOW: &str = "select count(*) as n from lineitem a join lineitem b \
     on a.l_suppkey = b.l_suppkey where a.l_orderkey % 7 <> b.l_orderkey % 5";

/// What is measured.
#[derive(Args)]
pub(crate) struct Takeover {
    /// What happens to the owner; may be given several times.
    #[arg(long = "kind", value_enum, default_value = "killed")]
    kinds: Vec<Kind>,
    /// How often that happens [default: 50 if it is killed, or else 10].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
}

/// What happens to the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// SIGKILL.
    Killed,
    /// SIGSTOP.
    Frozen,
    /// It reaches nobody but the store, and nobody reaches it.
    CutOff,
}

impl Takeover {
    pub(crate) async fn measure(&self) -> Result<(), Failure> {
        let mut slow = Vec::new();
        for kind in &self.kinds {
            let took = kind.again(self.count.unwrap_or(kind.often())).await?;
            slow.extend(kind.report(took));
        }
        match slow.is_empty() {
            true => Ok(()),
            false => Err(slow.join("\n").into()),
        }
    }
}

impl Kind {
    fn often(self) -> u32 {
        match self {
            Kind::Killed => 50,
            Kind::Frozen | Kind::CutOff => 10,
        }
    }

    /// How long the median and the longest takeover may take.
    fn limits(self) -> (Duration, Duration) {
        match self {
            Kind::Killed => (Duration::from_millis(300), SECOND),
            Kind::Frozen | Kind::CutOff => (TAKEOVER_AFTER + SECOND, TAKEOVER_AFTER + SECOND),
        }
    }

    /// So many takeovers in one cluster, in which the two schedulers are struck in turn.
    async fn again(self, count: u32) -> Result<Vec<Duration>, Failure> {
        let mut stage = Stage::set(0.1, |plan| {
            plan.doors = self == Kind::CutOff;
            plan.scheduler_flags = words(&format!(
                "--scheduler-small-plan-bytes 0 --scheduler-takeover-after {}ms",
                TAKEOVER_AFTER.as_millis()
            ));
        })
        .await?;
        let mut took = Vec::new();
        for run in 0..count {
            took.push(self.once(&mut stage, usize::from(run % 2 == 1)).await?);
        }
        stage.cluster.shut_down().await?;
        Ok(took)
    }

    async fn once(self, stage: &mut Stage, owner: usize) -> Result<Duration, Failure> {
        let started = stage.flight(owner).await?.start(SLOW).await?;
        let query = started.query.ok_or("the server names no query")?;
        let (struck, survivor) = (stage.http(owner), stage.http(1 - owner));
        until(&struck, query, |report| {
            report.elapsed_seconds > JOURNALED && report.stages.iter().any(|stage| stage.done > 0)
        })
        .await?;
        let before = struck.status().await?.scheduler;
        let cut_before = cuts(&stage.cluster, owner);
        let begun = Instant::now();
        self.strike(&mut stage.cluster, owner).await?;
        until(&survivor, query, |report| report.epoch.0 > 0).await?;
        let took = begun.elapsed();
        if self == Kind::CutOff && cuts(&stage.cluster, owner) == cut_before {
            return Err("no connection was cut".into());
        }
        survivor.cancel(query).await?;
        self.undo(&mut stage.cluster, owner).await?;
        if self != Kind::Killed {
            is_somebody_else(&struck, &before).await?;
        }
        stage.cluster.ready().await?;
        Ok(took)
    }

    async fn strike(self, cluster: &mut Cluster, owner: usize) -> Result<(), Failure> {
        match self {
            Kind::Killed => cluster.kill(Role::Scheduler, owner).await?,
            Kind::Frozen => process(cluster, owner)?.freeze()?,
            Kind::CutOff => cluster.set_traffic(Role::Scheduler, owner, Traffic::Cut)?,
        }
        Ok(())
    }

    async fn undo(self, cluster: &mut Cluster, owner: usize) -> Result<(), Failure> {
        match self {
            Kind::Killed => cluster.restart(Role::Scheduler, owner).await?,
            Kind::Frozen => process(cluster, owner)?.thaw()?,
            Kind::CutOff => cluster.set_traffic(Role::Scheduler, owner, Traffic::Flows)?,
        }
        Ok(())
    }

    /// Prints the figures, and says what took longer than it may.
    fn report(self, mut took: Vec<Duration>) -> Option<String> {
        took.sort();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
        let (median, worst) = self.limits();
        println!(
            "{} owners {self:?}: taken over after {:.1?} (best), {:.1?} (median), {:.1?} (95 %), \
             {:.1?} (worst)",
            took.len(),
            at(0.0),
            at(0.5),
            at(0.95),
            at(1.0)
        );
        let slow = at(0.5) > median || at(1.0) > worst;
        slow.then(|| format!("{self:?} owners may take {median:?} (median), {worst:?} (worst)"))
    }
}

fn process(cluster: &mut Cluster, scheduler: usize) -> Result<&mut Process, Failure> {
    let node = cluster.node(Role::Scheduler, scheduler);
    let process = node.and_then(|node| node.process());
    process.ok_or_else(|| "the process is gone".into())
}

/// How many connections to a scheduler were cut since it was started.
fn cuts(cluster: &Cluster, scheduler: usize) -> u64 {
    let doors = cluster.schedulers()[scheduler].doors();
    doors.map_or(0, Doors::cut_connections)
}

async fn until(
    http: &Http,
    query: QueryId,
    reached: impl Fn(&QueryReport) -> bool,
) -> Result<(), Failure> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let last = match http.query(query).await {
            Ok(report) if reached(&report) => return Ok(()),
            Ok(report) if report.state.is_final() => {
                return Err(format!("the query ended too soon: {report:?}").into());
            }
            Ok(report) => format!("{report:?}"),
            Err(error) if error.is_worth_another_try() => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        if Instant::now() > deadline {
            return Err(format!("waited too long for the query; at last: {last}").into());
        }
        sleep(LOOK).await;
    }
}

/// Waits until a scheduler that was taken over has learned it: it is somebody else from then on.
async fn is_somebody_else(http: &Http, before: &SchedulerId) -> Result<(), Failure> {
    let deadline = Instant::now() + LIMIT;
    while http.status().await?.scheduler == *before {
        if Instant::now() > deadline {
            return Err(format!("scheduler {before} never learned that it was taken over").into());
        }
        sleep(LOOK).await;
    }
    Ok(())
}
