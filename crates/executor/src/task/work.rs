//! One attempt: waits, runs, and says how it ended.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::FutureExt;
use paceline_model::{ErrorClass, OutputId, PartitionRange, QueryError};
use paceline_proto::cluster::task_state::State;
use paceline_proto::{cluster, error_to_failed};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::outcome::Outcome;
use super::run::run;
use crate::book::{Completion, Progress};
use crate::launch::Orders;
use crate::node::Node;
use crate::slots::Place;

/// An attempt as it was launched.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) id: OutputId,
    pub(crate) serial: u64,
    /// The partitions of the stage that the task takes.
    pub(crate) partitions: PartitionRange,
    pub(crate) orders: Arc<Orders>,
    pub(crate) cancel: CancellationToken,
    pub(crate) progress: Arc<Progress>,
    pub(crate) place: Place,
    pub(crate) launched: Instant,
}

/// Why an attempt left no output.
#[derive(Debug)]
pub(crate) enum Stop {
    Cancelled,
    Failed(QueryError),
}

impl From<QueryError> for Stop {
    fn from(error: QueryError) -> Self {
        Stop::Failed(error)
    }
}

/// Runs an attempt to its end and books it.
pub(crate) async fn attempt(node: Arc<Node>, work: Work) {
    let span = tracing::info_span!(
        "attempt",
        query_id = %work.id.query,
        stage = work.id.stage.0,
        task = work.id.task.0,
        attempt = work.id.attempt.0,
        epoch = work.orders.epoch.0,
    );
    let (id, serial) = (work.id, work.serial);
    let ended = perform(&node, work).instrument(span.clone()).await;
    let (state, holds_output) = span.in_scope(|| final_state(&node, ended));
    node.conclude(Completion {
        id,
        serial,
        state,
        holds_output,
    });
}

/// The place is given up on return, so that the next task starts before this one's end is told.
async fn perform(node: &Arc<Node>, mut work: Work) -> Result<Outcome, Stop> {
    // Cancel safety: both branches only wait.
    tokio::select! {
        biased;
        () = work.cancel.cancelled() => return Err(Stop::Cancelled),
        () = work.place.granted() => {}
    }
    let queued = work.launched.elapsed();
    node.metrics.queue_time.observe(queued.as_secs_f64());
    work.progress.started.store(true, Ordering::Relaxed);
    let started = Instant::now();
    let ended = AssertUnwindSafe(run(node, &work)).catch_unwind().await;
    let running = started.elapsed();
    node.metrics.run_time.observe(running.as_secs_f64());
    let mut outcome = ended.unwrap_or_else(|panic| Err(Stop::Failed(panicked(panic.as_ref()))))?;
    outcome.finished.queued_micros = micros(queued);
    outcome.finished.run_micros = micros(running);
    Ok(outcome)
}

/// A panic in an operator or a function, as an error. Another attempt would most likely meet it
/// again, and might take a further executor's time with it; so it is not retried.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> QueryError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    QueryError::new(
        ErrorClass::Bug,
        format!("an operator panicked: {text}; please report the statement"),
    )
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The state to tell, and whether the store keeps an output.
fn final_state(node: &Node, ended: Result<Outcome, Stop>) -> (State, bool) {
    let count = |outcome| node.metrics.tasks.with_label_values(&[outcome]).inc();
    match ended {
        Ok(outcome) => {
            count("finished");
            outcome.observe(&node.metrics);
            (State::Finished(outcome.finished), outcome.holds_output)
        }
        Err(Stop::Cancelled) => {
            count("cancelled");
            (State::Cancelled(cluster::Cancelled {}), false)
        }
        Err(Stop::Failed(error)) => {
            count("failed");
            let class = error.class.as_str();
            node.metrics.failures.with_label_values(&[class]).inc();
            tracing::info!(class, "failed: {error}");
            (State::Failed(error_to_failed(&error)), false)
        }
    }
}
