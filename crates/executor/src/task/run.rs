//! Runs one task's plan and writes what comes out.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use datafusion::common::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt;
use paceline_exchange::{Divided, Divider};
use paceline_model::{ByteSize, ErrorClass, PartitionRange, QueryError};
use paceline_plan::{HashPartitions, Sink, StagePlan, classify, operator_metrics};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::outcome::Outcome;
use super::output::TaskOutput;
use super::source::TaskSource;
use super::work::{Stop, Work, panicked};
use crate::book::Progress;
use crate::node::Node;

/// Runs the task and commits its output.
pub(super) async fn run(node: &Arc<Node>, work: &Work) -> Result<Outcome, Stop> {
    // Without means the executor has stopped.
    let means = node.means().ok_or(Stop::Cancelled)?;
    let source = Arc::new(TaskSource::new(node, &means, work));
    let name = work.id.to_string();
    let context = means
        .engine
        .task_context(&work.orders.settings, source.clone(), name)?;
    let stage = StagePlan::decode(&work.orders.plan, &context)?;
    let plan = stage.for_range(work.partitions, context.session_config().options())?;
    check_partitions(&plan, work.partitions)?;
    source.expect(StagePlan::exchange_needs(&plan));
    let (partitions, inline_limit) = match &stage.sink {
        Sink::Hash { partitions, .. } => (PartitionRange::new(0, *partitions), ByteSize(0)),
        Sink::Forward => (work.partitions, work.orders.inline_limit),
    };
    let schema = stage.input.schema();
    let output = TaskOutput::open(&means.store, work.id, schema, partitions, inline_limit)?;
    let output = Arc::new(output);
    let sections = sections(&plan, &stage.sink, work, &context, &output)?;
    let ran = run_all(sections, &work.cancel).await;
    // Who is told that it has ended may rely on it.
    StagePlan::come_to_rest(&plan).await;
    ran?;
    let output = Arc::into_inner(output).ok_or_else(still_shared)?;
    // Cancel safety: a `finish` that is dropped leaves nothing, as a dropped writer does.
    let left = tokio::select! {
        biased;
        () = work.cancel.cancelled() => return Err(Stop::Cancelled),
        left = output.finish() => left?,
    };
    let operators = operator_metrics(&stage.input, &plan);
    let read = source.bytes_read();
    Ok(Outcome::new(left, &stage.sink, operators, read))
}

fn check_partitions(
    plan: &Arc<dyn ExecutionPlan>,
    range: PartitionRange,
) -> Result<(), QueryError> {
    let count = plan.output_partitioning().partition_count();
    if u32::try_from(count) == Ok(range.count) {
        return Ok(());
    }
    Err(QueryError::new(
        ErrorClass::Bug,
        format!(
            "a task of {} partitions has a plan with {count}",
            range.count
        ),
    ))
}

fn still_shared() -> QueryError {
    QueryError::new(ErrorClass::Bug, "an output is written after its task ended")
}

/// One partition of the task's plan, ready to run.
struct Section {
    rows: SendableRecordBatchStream,
    route: Route,
    output: Arc<TaskOutput>,
    progress: Arc<Progress>,
}

/// Where a section's rows go.
enum Route {
    /// Into that partition of the output.
    Forward(u32),
    /// Into the partitions that their hashes name.
    Hash(Box<Dividing>),
}

/// How rows find the partitions that their hashes name.
struct Dividing {
    partitions: HashPartitions,
    divider: Divider,
}

impl Dividing {
    /// Takes in a batch; gives what is to be written now.
    fn add(&mut self, batch: RecordBatch) -> Result<Divided, DataFusionError> {
        let to = self.partitions.of(&batch)?;
        Ok(self.divider.add(batch, to)?)
    }
}

/// Starts every partition of the plan. Operators that share state among partitions expect all of
/// them to run at the same time.
fn sections(
    plan: &Arc<dyn ExecutionPlan>,
    sink: &Sink,
    work: &Work,
    context: &Arc<TaskContext>,
    output: &Arc<TaskOutput>,
) -> Result<Vec<Section>, QueryError> {
    let section = |(index, partition): (usize, u32)| {
        let route = match sink {
            Sink::Forward => Route::Forward(partition),
            Sink::Hash { exprs, partitions } => {
                let divider = Divider::new(output.schema(), *partitions);
                let partitions = HashPartitions::try_new(exprs.clone(), *partitions);
                Route::Hash(Box::new(Dividing {
                    partitions: partitions.map_err(|e| failure(&e))?,
                    divider,
                }))
            }
        };
        Ok(Section {
            rows: plan
                .execute(index, context.clone())
                .map_err(|e| failure(&e))?,
            route,
            output: output.clone(),
            progress: work.progress.clone(),
        })
    };
    work.partitions.iter().enumerate().map(section).collect()
}

/// Runs all sections at once. The first error, or a cancel, ends the others; none is left running
/// when this returns.
async fn run_all(sections: Vec<Section>, cancel: &CancellationToken) -> Result<(), Stop> {
    let mut running = JoinSet::new();
    for section in sections {
        running.spawn(section.run().in_current_span());
    }
    let ended = loop {
        // Cancel safety: `join_next` loses nothing when it is dropped.
        let joined = tokio::select! {
            biased;
            () = cancel.cancelled() => break Err(Stop::Cancelled),
            joined = running.join_next() => joined,
        };
        match joined {
            None => break Ok(()),
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => break Err(Stop::Failed(error)),
            Some(Err(error)) => break Err(joining(error)),
        }
    };
    // Waits until every stream is dropped: only then are memory, files and slots free.
    running.shutdown().await;
    ended
}

fn joining(error: JoinError) -> Stop {
    match error.try_into_panic() {
        Ok(panic) => Stop::Failed(panicked(panic.as_ref())),
        // Only a runtime that shuts down aborts sections.
        Err(_) => Stop::Cancelled,
    }
}

impl Section {
    async fn run(mut self) -> Result<(), QueryError> {
        while let Some(batch) = self.rows.next().await {
            let batch = batch.map_err(|e| failure(&e))?;
            if batch.num_rows() > 0 {
                self.progress
                    .add(batch.num_rows() as u64, about_bytes(&batch));
                self.write(batch).await?;
            }
            // A source that is always ready would keep its thread from everybody else.
            tokio::task::consume_budget().await;
        }
        match self.route {
            Route::Forward(_) => Ok(()),
            Route::Hash(dividing) => write_divided(&self.output, dividing.divider.finish()).await,
        }
    }

    async fn write(&mut self, batch: RecordBatch) -> Result<(), QueryError> {
        match &mut self.route {
            Route::Forward(partition) => self.output.write(*partition, batch).await,
            Route::Hash(dividing) => {
                let divided = dividing.add(batch).map_err(|e| failure(&e))?;
                write_divided(&self.output, divided).await
            }
        }
    }
}

/// About how many bytes the rows have, for whoever watches. What views point at does not count: there
/// would be a look at each value.
fn about_bytes(batch: &RecordBatch) -> u64 {
    let bytes = batch.columns().iter().map(|column| {
        let rows = column.to_data().get_slice_memory_size();
        rows.unwrap_or_else(|_| column.get_array_memory_size()) as u64
    });
    bytes.sum()
}

async fn write_divided(output: &TaskOutput, divided: Divided) -> Result<(), QueryError> {
    for piece in divided {
        let (partition, rows) = piece.map_err(|e| failure(&e.into()))?;
        output.write(partition, rows).await?;
    }
    Ok(())
}

/// What an error of the plan means. A panic in a task that an operator spawned reaches us as a
/// failure to join it.
fn failure(error: &DataFusionError) -> QueryError {
    match error.find_root() {
        DataFusionError::ExecutionJoin(join) if join.is_panic() => QueryError::new(
            ErrorClass::Bug,
            format!("an operator panicked: {join}; please report the statement"),
        ),
        _ => classify(error),
    }
}

#[cfg(test)]
mod tests;
