use std::sync::Arc;

use paceline_executor::Executor;

use super::announce::Listening;
use super::{Observed, Serving, bind, health, interrupted, options};
use crate::Failure;

/// Serves as an executor: the first signal drains it, the second one stops it.
pub(super) async fn serve(serving: Serving) -> Result<(), Failure> {
    let Serving {
        configuration,
        announce,
        ..
    } = serving;
    let observed = Observed::start(&configuration, "executor").await?;
    let listener = bind(
        "http",
        &configuration.listen,
        configuration.listen.http_port,
    )
    .await?;
    let http = options::advertised(&configuration.listen, listener.local_addr()?);
    let executor = Executor::start(options::executor(&configuration), &observed.registry)?;
    let executor = Arc::new(executor);
    let health = health::serve(listener, Arc::clone(&executor), observed.stop.clone());
    observed.tasks.spawn(health);
    Listening {
        role: "executor",
        http,
        flight: String::new(),
        cluster: executor.address().to_string(),
        metrics: observed.metrics.clone(),
    }
    .tell(announce)?;
    until_done(&executor).await?;
    observed.end().await;
    Ok(())
}

pub(super) async fn until_done(executor: &Executor) -> Result<(), Failure> {
    // Cancel safety: all branches only wait for something to have happened.
    tokio::select! {
        () = executor.done() => return Ok(()),
        signal = interrupted() => signal?,
    }
    tracing::info!("draining; another signal stops at once");
    executor.drain();
    tokio::select! {
        () = executor.done() => return Ok(()),
        signal = interrupted() => signal?,
    }
    executor.stop();
    executor.done().await;
    Ok(())
}
