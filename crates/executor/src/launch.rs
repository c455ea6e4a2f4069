//! Launches: from a message to attempts that wait for slots.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use paceline_model::{
    Attempt, ByteSize, Epoch, ErrorClass, OutputId, OutputLocation, PartitionRange, QueryError,
    QueryId, StageId, TaskId,
};
use paceline_plan::SessionSettings;
use paceline_proto::cluster::task_state::State;
use paceline_proto::{
    MESSAGE_LIMIT, Malformed, cluster, error_to_failed, output_locations, partition_range,
};
use tokio_util::sync::CancellationToken;

use crate::book::{Begin, Completion, LinkId, LiveAttempt, PlanProblem, Progress, Refusal};
use crate::node::{Node, Phase};
use crate::task::{Work, attempt};

/// The most that goes into a final state, whatever a launch allows: it may take twice that, and the state
/// has to fit into a message.
const MOST_INLINE: ByteSize = ByteSize(MESSAGE_LIMIT as u64 / 4);

/// What the attempts of one launch share.
#[derive(Debug)]
pub(crate) struct Orders {
    /// The epoch in which it was launched.
    pub(crate) epoch: Epoch,
    /// The encoded plan of the stage.
    pub(crate) plan: Bytes,
    /// Where the exchanges lie that the plan reads.
    pub(crate) inputs: HashMap<StageId, Vec<OutputLocation>>,
    /// An output up to this size goes into the final state.
    pub(crate) inline_limit: ByteSize,
    pub(crate) settings: SessionSettings,
}

/// Why there is nothing to begin.
#[derive(Debug)]
enum Unfit {
    /// Whoever launches may not, or may not any more.
    Refused(Refusal),
    /// What was sent is no launch, or has no plan to it.
    Failed(QueryError),
}

impl From<QueryError> for Unfit {
    fn from(error: QueryError) -> Self {
        Unfit::Failed(error)
    }
}

/// Carries out a launch. Each task that cannot be begun is answered with a failure of its own.
pub(crate) fn launch(node: &Arc<Node>, link: LinkId, mut launch: cluster::Launch) {
    let Some(query) = node.readable("launch", &launch.query) else {
        return;
    };
    let stage = StageId(launch.stage);
    let tasks = std::mem::take(&mut launch.tasks);
    let refuse_all = |error: &QueryError| {
        for task in &tasks {
            node.answer_failed(link, output_id(query, stage, task), error);
        }
    };
    if node.phase() >= Phase::Draining {
        node.metrics.refused.with_label_values(&["draining"]).inc();
        let message = format!(
            "draining: executor {} takes no tasks",
            node.identity.executor
        );
        return refuse_all(&QueryError::new(ErrorClass::Retryable, message));
    }
    let epoch = Epoch(launch.epoch);
    let admitted = node.book.lock().admit(link, query, epoch);
    let orders = match admitted {
        Ok(()) => orders(node, query, stage, launch),
        Err(refusal) => Err(Unfit::Refused(refusal)),
    };
    let orders = match orders {
        Ok(orders) => Arc::new(orders),
        Err(Unfit::Refused(refusal)) => {
            node.refused("launch", query, refusal);
            return refuse_all(&fenced(query, epoch, refusal));
        }
        Err(Unfit::Failed(error)) => {
            for task in &tasks {
                node.tell_failed(output_id(query, stage, task), &error);
            }
            return;
        }
    };
    for task in &tasks {
        let id = output_id(query, stage, task);
        if let Err(refusal) = begin(node, id, task, &orders) {
            node.refused("launch", query, refusal);
            node.answer_failed(link, id, &fenced(query, epoch, refusal));
        }
    }
}

fn output_id(query: QueryId, stage: StageId, task: &cluster::TaskLaunch) -> OutputId {
    OutputId {
        query,
        stage,
        task: TaskId(task.task),
        attempt: Attempt(task.attempt),
    }
}

fn fenced(query: QueryId, epoch: Epoch, refusal: Refusal) -> QueryError {
    let problem = match refusal {
        Refusal::StaleEpoch(highest) => format!("epoch {highest} has spoken since"),
        Refusal::NotOwner => "another scheduler owns it in that epoch".to_string(),
        Refusal::Ended => "it has ended".to_string(),
        Refusal::Detached => "the speaker was detached".to_string(),
    };
    QueryError::new(
        ErrorClass::Fenced,
        format!("launch for query {query} in epoch {epoch} refused: {problem}"),
    )
}

fn orders(
    node: &Arc<Node>,
    query: QueryId,
    stage: StageId,
    launch: cluster::Launch,
) -> Result<Orders, Unfit> {
    let epoch = Epoch(launch.epoch);
    let malformed = |malformed: Malformed| {
        node.malformed("launch", &malformed);
        let message = format!("launch of stage {stage} of query {query}: {malformed}");
        QueryError::new(ErrorClass::Bug, message)
    };
    let mut inputs = HashMap::new();
    for input in &launch.inputs {
        let locations = output_locations(&input.outputs, &launch.executors).map_err(malformed)?;
        inputs.insert(StageId(input.stage), locations);
    }
    Ok(Orders {
        epoch,
        plan: plan(node, query, stage, epoch, launch.plan)?,
        inputs,
        inline_limit: ByteSize(launch.inline_limit_bytes).min(MOST_INLINE),
        settings: SessionSettings(launch.settings.into_iter().collect()),
    })
}

fn plan(
    node: &Node,
    query: QueryId,
    stage: StageId,
    epoch: Epoch,
    sent: Option<Bytes>,
) -> Result<Bytes, Unfit> {
    let found = node.book.lock().plan(query, stage, epoch, sent);
    found.map_err(|problem| match problem {
        PlanProblem::Refused(refusal) => Unfit::Refused(refusal),
        PlanProblem::Missing => Unfit::Failed(QueryError::new(
            ErrorClass::Retryable,
            format!("plan not here: stage {stage} of query {query}; send the plan again"),
        )),
        PlanProblem::Conflict => Unfit::Failed(QueryError::new(
            ErrorClass::Bug,
            format!(
                "stage {stage} of query {query} was launched with another plan in the same epoch"
            ),
        )),
    })
}

/// The partitions that a task takes: at least one.
fn partitions(task: &cluster::TaskLaunch) -> Result<PartitionRange, Malformed> {
    let range = partition_range(task.first_partition, task.partitions)?;
    if range.count == 0 {
        return Err(Malformed {
            field: "partitions",
            problem: "are none".to_string(),
        });
    }
    Ok(range)
}

/// Notes an attempt and sends it off to wait for its slots. One that cannot be begun is told of as failed,
/// unless the query is not the launching owner's any more.
fn begin(
    node: &Arc<Node>,
    id: OutputId,
    task: &cluster::TaskLaunch,
    orders: &Arc<Orders>,
) -> Result<(), Refusal> {
    let partitions = match partitions(task) {
        Ok(partitions) => partitions,
        Err(malformed) => {
            node.malformed("launch", &malformed);
            let error = QueryError::new(ErrorClass::Bug, format!("launch of {id}: {malformed}"));
            node.tell_failed(id, &error);
            return Ok(());
        }
    };
    let cancel = CancellationToken::new();
    let progress = Arc::new(Progress::default());
    let live = LiveAttempt::new(cancel.clone(), progress.clone());
    let begun = node.book.lock().begin(id, orders.epoch, live)?;
    let Begin::Started(serial) = begun else {
        return Ok(());
    };
    // After that: a repetition needs no place, and must not fail what it repeats for want of one.
    let Ok(place) = node.slots.enqueue(task.slots) else {
        no_place(node, id, serial);
        return Ok(());
    };
    node.metrics.attempts.inc();
    let work = Work {
        id,
        serial,
        partitions,
        orders: orders.clone(),
        cancel,
        progress,
        place,
        launched: Instant::now(),
    };
    node.attempts
        .spawn_on(attempt(node.clone(), work), &node.query_threads);
    Ok(())
}

/// Ends an attempt that cannot even wait.
fn no_place(node: &Node, id: OutputId, serial: u64) {
    node.metrics
        .refused
        .with_label_values(&["queue_full"])
        .inc();
    let message = format!(
        "too many tasks wait for slots at executor {}",
        node.identity.executor
    );
    let error = QueryError::new(ErrorClass::Resource, message);
    node.conclude(Completion {
        id,
        serial,
        state: State::Failed(error_to_failed(&error)),
        holds_output: false,
    });
}

#[cfg(test)]
mod tests;
