//! How long a query is without an owner: from the blow at its scheduler until a survivor has told the
//! executors that it drives the query now.
//!
//! A process that was killed is known by its connections. One that is frozen keeps them and refuses none;
//! one that is cut off goes on writing its beacon, and only proxies, by which all reach each other, keep
//! it from answering and from asking; of one that is stalled these keep the connections open. All three are
//! known by their silence alone.
//!
//! `--queries` has the journal hold many others. Where the state is a directory a takeover costs next to
//! nothing; `--state` and `--state-options` lead elsewhere, and the place must be empty.
//!
//! The moment is read off the survivor's status, asked again and again, so each figure is too large by the
//! time between two questions.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use futures::{StreamExt, TryStreamExt, stream};
use paceline::client::{Http, SubmitRequest};
use paceline_frontend::QueryReport;
use paceline_model::{QueryId, SchedulerId};
use paceline_testkit::{Cluster, ClusterPlan, Doors, Process, Role, Traffic};
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

/// The same without an end: there is time to submit as many others as one likes.
const ENDLESS: &str = "select count(*) as n, sum(a.l_orderkey + b.l_orderkey) as k \
     from lineitem a join lineitem b on a.l_linenumber = b.l_linenumber";

/// What is submitted beside it.
const CHEAP: &str = "select count(*) as n from nation";

/// So many submissions are on their way at a time.
const SUBMITTERS: usize = 32;

/// What is measured.
#[derive(Args)]
pub(crate) struct Takeover {
    /// What happens to the owner; may be given several times.
    #[arg(long = "kind", value_enum, default_value = "killed")]
    kinds: Vec<Kind>,
    /// How often that happens [default: 50 if it is killed, or else 10].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// How many submitted queries the owner's journal holds beside the one that is looked at; they wait
    /// until that one has ended.
    #[arg(long, default_value_t = 0)]
    queries: usize,
    /// Where the schedulers keep their state [default: a directory].
    #[arg(long)]
    state: Option<String>,
    /// How that is reached, as the schedulers are told.
    #[arg(long, requires = "state")]
    state_options: Option<String>,
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
    /// The same, but that its connections stay open.
    Stalled,
}

impl Takeover {
    pub(crate) async fn measure(&self) -> Result<(), Failure> {
        let mut slow = Vec::new();
        for kind in &self.kinds {
            let took = self.again(*kind).await?;
            slow.extend(kind.report(took, self.queries));
        }
        match slow.is_empty() {
            true => Ok(()),
            false => Err(slow.join("\n").into()),
        }
    }

    /// So many takeovers in one cluster, in which the two schedulers are struck in turn.
    async fn again(&self, kind: Kind) -> Result<Vec<Duration>, Failure> {
        let mut stage = Stage::set(0.1, |plan| self.shape(kind, plan)).await?;
        let mut took = Vec::new();
        for run in 0..self.count.unwrap_or(kind.often()) {
            let owner = usize::from(run % 2 == 1);
            took.push(self.once(kind, &mut stage, owner).await?);
        }
        stage.cluster.shut_down().await?;
        Ok(took)
    }

    fn shape(&self, kind: Kind, plan: &mut ClusterPlan) {
        plan.doors = kind.needs_doors();
        plan.scheduler_flags = words(&format!(
            "--scheduler-small-plan-bytes 0 --scheduler-takeover-after {}ms",
            TAKEOVER_AFTER.as_millis()
        ));
        // Each kind has a cluster of its own.
        let state = self.state.as_ref();
        plan.state = state.map(|state| format!("{}/{kind:?}", state.trim_end_matches('/')));
        if let Some(options) = &self.state_options {
            let flag = "--state-options".to_string();
            plan.scheduler_flags.extend([flag, options.clone()]);
        }
        if self.queries > 0 {
            // What is looked at runs, and all others wait for their turn.
            plan.scheduler_flags.extend(words(&format!(
                "--scheduler-max-running-queries 1 --scheduler-max-queued-queries {}",
                self.queries
            )));
        }
    }

    async fn once(&self, kind: Kind, stage: &mut Stage, owner: usize) -> Result<Duration, Failure> {
        let sql = match self.queries {
            0 => SLOW,
            _ => ENDLESS,
        };
        let started = stage.flight(owner).await?.start(sql).await?;
        let query = started.query.ok_or("the server names no query")?;
        let (struck, survivor) = (stage.http(owner), stage.http(1 - owner));
        until(&struck, query, |report| {
            report.elapsed_seconds > JOURNALED && report.stages.iter().any(|stage| stage.done > 0)
        })
        .await?;
        self.submit_others(&struck).await?;
        let before = struck.status().await?.scheduler;
        let counted = kind.counted(&stage.cluster, owner);
        let begun = Instant::now();
        kind.strike(&mut stage.cluster, owner).await?;
        until(&survivor, query, |report| report.epoch.0 > 0).await?;
        let took = begun.elapsed();
        if kind.needs_doors() && kind.counted(&stage.cluster, owner) == counted {
            return Err("nothing was cut or held back".into());
        }
        survivor.cancel(query).await?;
        kind.undo(&mut stage.cluster, owner).await?;
        if kind != Kind::Killed {
            is_somebody_else(&struck, &before).await?;
        }
        stage.cluster.ready().await?;
        is_idle(&survivor).await?;
        Ok(took)
    }

    /// Submits what waits beside the query that is looked at. Who is told of a submission knows that a
    /// journal holds it.
    async fn submit_others(&self, owner: &Http) -> Result<(), Failure> {
        let request = SubmitRequest {
            sql: CHEAP.to_string(),
            result_ttl: Some("1s".to_string()),
            ..SubmitRequest::default()
        };
        let sending = (0..self.queries).map(|_| owner.submit(&request, None));
        let sending = stream::iter(sending).buffer_unordered(SUBMITTERS);
        let accepted: Vec<QueryReport> = sending.try_collect().await?;
        let status = owner.status().await?;
        let there = status.queries_running + status.queries_queued;
        match there > accepted.len() as u64 {
            true => Ok(()),
            false => Err(format!(
                "of {} queries that were submitted and the one that is looked at, {there} are left",
                accepted.len()
            )
            .into()),
        }
    }
}

impl Kind {
    fn often(self) -> u32 {
        match self {
            Kind::Killed => 50,
            Kind::Frozen | Kind::CutOff | Kind::Stalled => 10,
        }
    }

    /// How long the median and the longest takeover may take.
    fn limits(self) -> (Duration, Duration) {
        let silent = TAKEOVER_AFTER + SECOND;
        match self {
            Kind::Killed => (Duration::from_millis(300), SECOND),
            Kind::Frozen | Kind::CutOff | Kind::Stalled => (silent, silent),
        }
    }

    fn needs_doors(self) -> bool {
        matches!(self, Kind::CutOff | Kind::Stalled)
    }

    /// How much was cut or held back at the doors of a scheduler since it was started.
    fn counted(self, cluster: &Cluster, scheduler: usize) -> u64 {
        let doors = cluster.schedulers()[scheduler].doors();
        let count = match self {
            Kind::Stalled => Doors::held_back,
            _ => Doors::cut_connections,
        };
        doors.map_or(0, count)
    }

    async fn strike(self, cluster: &mut Cluster, owner: usize) -> Result<(), Failure> {
        match self {
            Kind::Killed => cluster.kill(Role::Scheduler, owner).await?,
            Kind::Frozen => process(cluster, owner)?.freeze()?,
            Kind::CutOff => cluster.set_traffic(Role::Scheduler, owner, Traffic::Cut)?,
            Kind::Stalled => cluster.set_traffic(Role::Scheduler, owner, Traffic::Stalls)?,
        }
        Ok(())
    }

    async fn undo(self, cluster: &mut Cluster, owner: usize) -> Result<(), Failure> {
        match self {
            Kind::Killed => cluster.restart(Role::Scheduler, owner).await?,
            Kind::Frozen => process(cluster, owner)?.thaw()?,
            Kind::CutOff | Kind::Stalled => {
                cluster.set_traffic(Role::Scheduler, owner, Traffic::Flows)?;
            }
        }
        Ok(())
    }

    /// Prints the figures, and says what took longer than it may.
    fn report(self, mut took: Vec<Duration>, beside: usize) -> Option<String> {
        took.sort();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
        let (median, worst) = self.limits();
        println!(
            "{} owners {self:?} with {beside} other queries: taken over after {:.1?} (best), {:.1?} \
             (median), {:.1?} (95 %), {:.1?} (worst)",
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

/// Waits until a scheduler drives nothing any more: what it took over has ended.
async fn is_idle(http: &Http) -> Result<(), Failure> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let status = http.status().await?;
        let there = status.queries_running + status.queries_queued;
        if there == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{there} queries are left that were taken over").into());
        }
        sleep(LOOK).await;
    }
}
