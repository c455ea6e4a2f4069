//! How long a query is without an owner: from SIGKILL of its scheduler until a survivor has told the
//! executors that it drives the query now.
//!
//! ```text
//! cargo bench -p paceline --bench takeover -- [kills]
//! ```
//!
//! The moment is read off the survivor's status, asked again and again, so each figure is too large
//! by the time of one question.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use paceline::client::{Flight, Http};
use paceline_model::QueryId;
use paceline_testkit::{Cluster, ClusterPlan, Dataset, Role, Scale};

const KILLS: usize = 50;

const SLOW: &str = "select count(*) as n from lineitem a join lineitem b \
     on a.l_suppkey = b.l_suppkey where a.l_orderkey % 7 <> b.l_orderkey % 5";

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let kills = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let kills: usize = kills.unwrap_or(KILLS);
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
    let mut took = Vec::with_capacity(kills);
    for kill in 0..kills {
        took.push(takeover(&mut cluster, kill % 2).await?);
    }
    cluster.shut_down().await?;
    report(took);
    Ok(())
}

async fn connect(cluster: &Cluster, scheduler: usize) -> Result<Flight, Failure> {
    let address = &cluster.schedulers()[scheduler].announced().flight;
    Ok(Flight::connect(address).await?)
}

fn http(cluster: &Cluster, scheduler: usize) -> Http {
    Http::new(&cluster.schedulers()[scheduler].announced().http)
}

async fn takeover(cluster: &mut Cluster, owner: usize) -> Result<Duration, Failure> {
    let started = connect(cluster, owner).await?.start(SLOW).await?;
    let query = started.query.ok_or("the server names no query")?;
    let (dying, survivor) = (http(cluster, owner), http(cluster, 1 - owner));
    until(&dying, query, |report| {
        report.elapsed_seconds > 0.3 && report.stages.iter().any(|stage| stage.done > 0)
    })
    .await?;
    let killed = Instant::now();
    cluster.kill(Role::Scheduler, owner).await?;
    until(&survivor, query, |report| report.epoch.0 > 0).await?;
    let took = killed.elapsed();
    survivor.cancel(query).await?;
    cluster.restart(Role::Scheduler, owner).await?;
    cluster.ready().await?;
    Ok(took)
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

fn report(mut took: Vec<Duration>) {
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "{} kills: takeover after {:.0?} (best), {:.0?} (median), {:.0?} (95 %), {:.0?} (worst)",
        took.len(),
        at(0.0),
        at(0.5),
        at(0.95),
        at(1.0)
    );
}
