use std::sync::Arc;

use paceline_executor::Executor;

use super::announce::Listening;
use super::{Observed, Serving, Signals, bind, health, options};
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
    // Whoever is told where this listens may tell it to stop.
    let mut signals = Signals::listen()?;
    Listening {
        role: "executor",
        http,
        flight: String::new(),
        cluster: executor.address().to_string(),
        metrics: observed.metrics.clone(),
    }
    .tell(announce)?;
    until_done(&executor, &mut signals).await;
    observed.end().await;
    Ok(())
}

async fn until_done(executor: &Executor, signals: &mut Signals) {
    // Cancel safety: all branches only wait for something to have happened.
    tokio::select! {
        () = executor.done() => return,
        () = signals.wait() => {}
    }
    tracing::info!("draining; another signal stops at once");
    executor.drain();
    tokio::select! {
        () = executor.done() => return,
        () = signals.wait() => {}
    }
    executor.stop();
    executor.done().await;
}
