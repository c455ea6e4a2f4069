use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use paceline_executor::Executor;
use paceline_scheduler::Scheduler;
use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::announce::Listening;
use super::{Observed, Serving, Signals, options};
use crate::Failure;

/// How long a scheduler that was told to stop waits for the queries it drives.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves as a scheduler: the first signal drains it, the second one stops it.
pub(super) async fn serve(serving: Serving) -> Result<(), Failure> {
    let observed = Observed::start(&serving.configuration, "scheduler").await?;
    let options = options::scheduler(&serving.configuration, serving.environment);
    let scheduler = Scheduler::start(options, &observed.registry).await?;
    // Whoever is told where this listens may tell it to stop.
    let mut signals = Signals::listen()?;
    listening("scheduler", &scheduler, &observed).tell(serving.announce)?;
    until_told(&scheduler, &mut signals).await?;
    end(&scheduler, &mut signals).await;
    observed.end().await;
    Ok(())
}

/// Serves as a scheduler with an executor of its own.
pub(super) async fn serve_standalone(serving: Serving) -> Result<(), Failure> {
    let observed = Observed::start(&serving.configuration, "standalone").await?;
    let options = options::scheduler(&serving.configuration, serving.environment);
    let scheduler = Scheduler::start(options, &observed.registry).await?;
    // Both count some of the same things; a label tells whose they are.
    let labels = HashMap::from([("part".to_string(), "executor".to_string())]);
    let registry = Registry::new_custom(None, Some(labels))?;
    observed
        .registry
        .register(Box::new(Nested(registry.clone())))?;
    let executor = match start_executor(&serving.configuration, &scheduler, &registry) {
        Ok(executor) => executor,
        Err(failure) => {
            // Its journal and its beacon are not left to others.
            scheduler.drain(PATIENCE).await;
            return Err(failure);
        }
    };
    let mut signals = Signals::listen()?;
    listening("standalone", &scheduler, &observed).tell(serving.announce)?;
    until_told(&scheduler, &mut signals).await?;
    end(&scheduler, &mut signals).await;
    // Nobody is left to read what it holds.
    executor.stop();
    executor.done().await;
    observed.end().await;
    Ok(())
}

fn start_executor(
    configuration: &crate::config::Configuration,
    scheduler: &Scheduler,
    registry: &Registry,
) -> Result<Arc<Executor>, Failure> {
    let port = scheduler
        .addresses()
        .cluster
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok())
        .ok_or_else(|| Failure::new("the scheduler has no cluster port"))?;
    let address = SocketAddr::new(configuration.listen.host, port);
    let options = options::inner_executor(configuration, address);
    Ok(Arc::new(Executor::start(options, registry)?))
}

/// Waits for a signal. A scheduler that ended by itself is not kept as a process that serves nothing:
/// whoever started it can start it again.
async fn until_told(scheduler: &Scheduler, signals: &mut Signals) -> Result<(), Failure> {
    // Cancel safety: both only wait.
    tokio::select! {
        () = signals.wait() => Ok(()),
        () = scheduler.stopping() => Err(Failure::new(
            "the scheduler ended by itself, because a part of it did: its log says which; start it again",
        )),
    }
}

async fn end(scheduler: &Scheduler, signals: &mut Signals) {
    tracing::info!("finishing what runs; another signal stops at once");
    // Cancel safety: a drain that is dropped has changed nothing that `stop` does not need.
    tokio::select! {
        () = scheduler.drain(PATIENCE) => return,
        () = signals.wait() => {}
    }
    scheduler.stop().await;
}

fn listening(role: &'static str, scheduler: &Scheduler, observed: &Observed) -> Listening {
    let addresses = scheduler.addresses();
    Listening {
        role,
        http: addresses.http.clone(),
        flight: addresses.flight.clone(),
        cluster: addresses.cluster.clone(),
        metrics: observed.metrics.clone(),
    }
}

/// Shows what one registry collects in another one.
struct Nested(Registry);

impl Collector for Nested {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.gather()
    }
}
