//! Short queries, as many as go through one scheduler: how many a second, how long each takes, and what
//! they cost the store.
//!
//! Clients, scheduler and executor share the machine, and each client keeps its connection and asks again
//! as soon as it has the answer. By default queries end sooner than they would be written down, and cost the
//! store nothing. With `--linger 0s` each is worth a record, and what they cost is bounded by the commits of
//! the journal: the slower the store, the more of them go with one. A directory is fast; `--state` and
//! `--state-options` lead elsewhere.

mod client;
mod costs;

use std::time::{Duration, Instant};

use clap::Args;
use futures::future::{join_all, try_join_all};
use paceline_testkit::ClusterPlan;

use crate::stage::{Failure, Stage, words};
use client::{Client, Way};
use costs::Costs;

/// What each client asks before it is measured.
const WARM_UP: usize = 20;

/// What is measured.
#[derive(Args)]
pub(crate) struct Short {
    /// How clients ask; may be given several times [default: all ways in turn].
    #[arg(long = "way", value_enum)]
    ways: Vec<Way>,
    /// How many clients there are.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// For how long each way is measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How old a query must be to be written down.
    #[arg(long, default_value = "50ms")]
    linger: String,
    /// Where the scheduler keeps its state [default: a directory].
    #[arg(long)]
    state: Option<String>,
    /// How that is reached, as the scheduler is told.
    #[arg(long, requires = "state")]
    state_options: Option<String>,
}

impl Short {
    pub(crate) async fn measure(&self) -> Result<(), Failure> {
        let mut stage = Stage::set(0.01, |plan| self.shape(plan)).await?;
        let ways = match self.ways.is_empty() {
            true => Way::ALL.to_vec(),
            false => self.ways.clone(),
        };
        for way in ways {
            self.ask(&stage, way).await?;
        }
        stage.cluster.shut_down().await?;
        Ok(())
    }

    /// One scheduler, and an executor that can keep a core busy.
    fn shape(&self, plan: &mut ClusterPlan) {
        plan.schedulers = 1;
        plan.executors = 1;
        plan.slots = 2;
        plan.state = self.state.clone();
        plan.scheduler_flags = words(&format!("--scheduler-linger {}", self.linger));
        if let Some(options) = &self.state_options {
            let flag = "--state-options".to_string();
            plan.scheduler_flags.extend([flag, options.clone()]);
        }
    }

    async fn ask(&self, stage: &Stage, way: Way) -> Result<(), Failure> {
        let scheduler = stage.addresses(0);
        let connecting = (0..self.clients).map(|_| Client::connect(way, &scheduler));
        let clients = try_join_all(try_join_all(connecting).await?.into_iter().map(warm)).await?;
        let before = Costs::of(&scheduler.metrics).await?;
        let begun = Instant::now();
        let until = begun + Duration::from_secs(u64::from(self.seconds));
        let asking = clients
            .into_iter()
            .map(|client| tokio::spawn(keep_asking(client, until)));
        let mut times = Vec::new();
        for asked in join_all(asking).await {
            times.extend(asked??);
        }
        let took = begun.elapsed();
        let costs = Costs::of(&scheduler.metrics).await?.since(&before);
        println!(
            "{way:?}, {} clients: {}",
            self.clients,
            figures(times, took)
        );
        println!("  {costs}");
        costs.are_bounded()
    }
}

async fn warm(mut client: Client) -> Result<Client, Failure> {
    for _ in 0..WARM_UP {
        client.ask().await?;
    }
    Ok(client)
}

/// How long each query took.
async fn keep_asking(mut client: Client, until: Instant) -> Result<Vec<Duration>, Failure> {
    let mut times = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        client.ask().await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

fn figures(mut times: Vec<Duration>, took: Duration) -> String {
    times.sort();
    let last = times.len().saturating_sub(1);
    let at = |share: f64| {
        times
            .get((last as f64 * share) as usize)
            .copied()
            .unwrap_or_default()
    };
    format!(
        "{} queries in {took:.1?}, {:.0} a second; {:.1?} (median), {:.1?} (99 %), {:.1?} (worst)",
        times.len(),
        times.len() as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0)
    )
}
