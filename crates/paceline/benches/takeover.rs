//! How long a query is without an owner: from SIGKILL of its scheduler, or SIGSTOP, until a survivor
//! has told the executors that it drives the query now.
//!
//! ```text
//! cargo bench -p paceline --bench takeover -- [runs] [--frozen]
//! ```
//!
//! A frozen scheduler keeps its connections and refuses none, so it is known by its silence alone.
//! It fails if the median or the worst run takes longer than it may: 300 ms and 1 s for a process that
//! died, `takeover_after` and a second for one that is frozen.
//! The moment is read off the survivor's status, asked again and again, so each figure is too large
//! by the time of one question.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use paceline::client::{Flight, Http};
use paceline_model::QueryId;
use paceline_testkit::{Cluster, ClusterPlan, Dataset, Role, Scale};

const RUNS: usize = 50;

/// Median and worst time after which the query of a process that died is somebody else's.
const KILLED_LIMITS: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(1));

/// The default of `scheduler.takeover_after`, and what may come on top of it.
const FROZEN_LIMIT: Duration = Duration::from_secs(3 + 1);

const SLOW: &str = "select count(*) as n from lineitem a join lineitem b \
     on a.l_suppkey = b.l_suppkey where a.l_orderkey % 7 <> b.l_orderkey % 5";

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runs = words.iter().find_map(|word| word.parse().ok());
    let runs: usize = runs.unwrap_or(RUNS);
    let end = match words.iter().any(|word| word == "--frozen") {
        true => End::Frozen,
        false => End::Killed,
    };
    let directory = tempfile::tempdir()?;
    let mut plan = ClusterPlan::new(env!("CARGO_BIN_EXE_paceline"), directory.path());
    plan.executor_flags = vec!["--executor-memory-limit".into(), "2GiB".into()];
    plan.scheduler_flags = vec!["--scheduler-small-plan-bytes".into(), "0".into()];
    let mut cluster = Cluster::start(plan).await?;
    let data = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let data =
        Dataset::find_or_generate(data, Scale::new(0.1)?, 2, &|_| ControlFlow::Continue(()))?;
    let mut flight = connect(&cluster, 0).await?;
    for statement in data.create_statements() {
        flight.run(&statement).await?;
    }
    let mut took = Vec::with_capacity(runs);
    for run in 0..runs {
        took.push(takeover(&mut cluster, run % 2, end).await?);
    }
    cluster.shut_down().await?;
    report(end, took)
}

/// What happens to the owner.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Killed,
    Frozen,
}

async fn connect(cluster: &Cluster, scheduler: usize) -> Result<Flight, Failure> {
    let address = &cluster.schedulers()[scheduler].announced().flight;
    Ok(Flight::connect(address).await?)
}

fn http(cluster: &Cluster, scheduler: usize) -> Http {
    Http::new(&cluster.schedulers()[scheduler].announced().http)
}

async fn takeover(cluster: &mut Cluster, owner: usize, end: End) -> Result<Duration, Failure> {
    let started = connect(cluster, owner).await?.start(SLOW).await?;
    let query = started.query.ok_or("the server names no query")?;
    let (dying, survivor) = (http(cluster, owner), http(cluster, 1 - owner));
    until(&dying, query, |report| {
        report.elapsed_seconds > 0.3 && report.stages.iter().any(|stage| stage.done > 0)
    })
    .await?;
    let before = dying.status().await?.scheduler;
    let struck = Instant::now();
    strike(cluster, owner, end).await?;
    until(&survivor, query, |report| report.epoch.0 > 0).await?;
    let took = struck.elapsed();
    survivor.cancel(query).await?;
    match end {
        End::Killed => cluster.restart(Role::Scheduler, owner).await?,
        End::Frozen => {
            let node = cluster.node(Role::Scheduler, owner);
            node.and_then(|n| n.process()).ok_or(GONE)?.thaw()?;
            // It learns that it was taken over, and is somebody else from then on.
            while dying.status().await?.scheduler == before {
                tokio::task::yield_now().await;
            }
        }
    }
    cluster.ready().await?;
    Ok(took)
}

const GONE: &str = "the process is gone";

async fn strike(cluster: &mut Cluster, owner: usize, end: End) -> Result<(), Failure> {
    if end == End::Killed {
        return Ok(cluster.kill(Role::Scheduler, owner).await?);
    }
    let node = cluster.node(Role::Scheduler, owner);
    Ok(node.and_then(|n| n.process()).ok_or(GONE)?.freeze()?)
}

async fn until(
    http: &Http,
    query: QueryId,
    reached: impl Fn(&paceline_frontend::QueryReport) -> bool,
) -> Result<(), Failure> {
    loop {
        let report = http.query(query).await?;
        if reached(&report) {
            return Ok(());
        }
        if report.state.is_final() {
            return Err(format!("the query ended too soon: {report:?}").into());
        }
        tokio::task::yield_now().await;
    }
}

fn report(end: End, mut took: Vec<Duration>) -> Result<(), Failure> {
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    let what = match end {
        End::Killed => "kills",
        End::Frozen => "freezes",
    };
    println!(
        "{} {what}: takeover after {:.1?} (best), {:.1?} (median), {:.1?} (95 %), {:.1?} (worst)",
        took.len(),
        at(0.0),
        at(0.5),
        at(0.95),
        at(1.0)
    );
    let (median, worst) = match end {
        End::Killed => KILLED_LIMITS,
        End::Frozen => (FROZEN_LIMIT, FROZEN_LIMIT),
    };
    if at(0.5) > median || at(1.0) > worst {
        return Err(format!("wanted: {median:?} (median), {worst:?} (worst)").into());
    }
    Ok(())
}
