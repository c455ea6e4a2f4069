//! Between the core's words and the cluster protocol's.

use bytes::Bytes;
use paceline_core::{Action, AttemptRef, AttemptState, HeldQuery, TaskLaunch};
use paceline_model::{Attempt, Epoch, OutputSummary, QueryId, SchedulerId, Stage, StageId, TaskId};
use paceline_plan::{MetricUnit, OperatorMetric};
use paceline_proto::cluster::from_scheduler::Message;
use paceline_proto::cluster::task_state::State;
use paceline_proto::{Malformed, OutputTable, cluster, failed_to_error, query_bytes, query_id};

/// The message of an action that commands executors; none for one that does not.
pub(crate) fn command(action: &Action) -> Option<Message> {
    match action {
        Action::AnnounceOwner { query, epoch, .. } => Some(adoption(*query, *epoch, false)),
        Action::CancelAttempts {
            query,
            epoch,
            attempts,
            ..
        } => Some(Message::CancelTasks(cluster::CancelTasks {
            query: query_bytes(*query),
            epoch: epoch.0,
            attempts: attempts.iter().map(attempt).collect(),
        })),
        Action::ReleaseOutputs {
            query,
            epoch,
            outputs,
            ..
        } => Some(Message::ReleaseOutputs(cluster::ReleaseOutputs {
            query: query_bytes(*query),
            epoch: epoch.0,
            outputs: outputs.iter().map(attempt).collect(),
        })),
        Action::EndQuery { query, epoch, .. } => Some(Message::EndQuery(cluster::EndQuery {
            query: query_bytes(*query),
            epoch: epoch.0,
        })),
        _ => None,
    }
}

/// Tells an executor whose a query is from now on. If it was planned afresh, what the executor holds of
/// it goes.
pub(crate) fn adoption(query: QueryId, epoch: Epoch, afresh: bool) -> Message {
    Message::Adopt(cluster::Adopt {
        queries: vec![cluster::Adoption {
            query: query_bytes(query),
            epoch: epoch.0,
            afresh,
        }],
    })
}

fn attempt(attempt: &AttemptRef) -> cluster::AttemptRef {
    cluster::AttemptRef {
        stage: attempt.stage.0,
        task: attempt.task.0,
        attempt: attempt.attempt.0,
    }
}

fn attempt_from(attempt: &cluster::AttemptRef) -> AttemptRef {
    AttemptRef {
        stage: StageId(attempt.stage),
        task: TaskId(attempt.task),
        attempt: Attempt(attempt.attempt),
    }
}

/// What a launch says beside the tasks.
pub(crate) struct LaunchOf<'a> {
    pub(crate) query: QueryId,
    pub(crate) epoch: Epoch,
    pub(crate) stage: &'a Stage,
    pub(crate) with_plan: bool,
    pub(crate) inline_limit: u64,
    pub(crate) settings: &'a std::collections::BTreeMap<String, String>,
}

/// The message that starts tasks.
pub(crate) fn launch(
    of: &LaunchOf<'_>,
    tasks: &[TaskLaunch],
    inputs: &[(StageId, std::sync::Arc<[paceline_model::OutputLocation]>)],
) -> Message {
    let mut table = OutputTable::default();
    for (stage, locations) in inputs {
        table.add(*stage, locations);
    }
    let tasks = tasks.iter().map(|task| cluster::TaskLaunch {
        task: task.task.0,
        attempt: task.attempt.0,
        first_partition: task.partitions.first,
        partitions: task.partitions.count,
        slots: task.slots,
    });
    Message::Launch(cluster::Launch {
        query: query_bytes(of.query),
        epoch: of.epoch.0,
        stage: of.stage.id.0,
        plan: of
            .with_plan
            .then(|| bytes::Bytes::copy_from_slice(&of.stage.plan)),
        tasks: tasks.collect(),
        inputs: table.stages,
        executors: table.executors,
        inline_limit_bytes: of.inline_limit,
        settings: of.settings.clone().into_iter().collect(),
    })
}

/// What an executor holds, as it says on attaching. It brings no results then.
pub(crate) fn inventory(inventory: cluster::Inventory) -> Result<Vec<Answer>, Malformed> {
    let mut all = Vec::with_capacity(inventory.queries.len());
    for held in inventory.queries {
        let mut answer = answer(held)?;
        answer.held.inline.clear();
        answer.results.clear();
        all.push(answer);
    }
    Ok(all)
}

/// What an executor holds of a query, as it says on attaching or when the query was adopted.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) held: HeldQuery,
    /// Whom it obeys for the query, if it says.
    pub(crate) owner: Option<SchedulerId>,
    /// What came with it, of the attempts that it names as inline.
    pub(crate) results: Vec<(AttemptRef, Bytes)>,
}

/// What an executor holds of queries that were adopted.
pub(crate) fn answers(held: cluster::Held) -> Result<Vec<Answer>, Malformed> {
    held.queries.into_iter().map(answer).collect()
}

fn answer(held: cluster::HeldQuery) -> Result<Answer, Malformed> {
    let (mut finished, mut inline, mut results) = (Vec::new(), Vec::new(), Vec::new());
    let owner = Some(held.owner).filter(|owner| !owner.is_empty());
    let owner = owner.map(SchedulerId::new);
    for state in held.finished {
        let attempt = AttemptRef {
            stage: StageId(state.stage),
            task: TaskId(state.task),
            attempt: Attempt(state.attempt),
        };
        let Some(State::Finished(end)) = state.state else {
            continue;
        };
        let summary = OutputSummary::from(end.output.unwrap_or_default());
        match end.inline_result {
            Some(bytes) => {
                inline.push((attempt, summary));
                results.push((attempt, bytes));
            }
            None => finished.push((attempt, summary)),
        }
    }
    let held = HeldQuery {
        query: query_id(&held.query)?,
        epoch: Epoch(held.epoch),
        finished,
        inline,
        running: held.running.iter().map(attempt_from).collect(),
        ours: false,
    };
    Ok(Answer {
        held,
        owner,
        results,
    })
}

/// A reported state, with what the core does not need to know taken out of it.
pub(crate) struct Report {
    pub(crate) state: AttemptState,
    pub(crate) inline_result: Option<bytes::Bytes>,
    pub(crate) operators: Vec<Vec<OperatorMetric>>,
    /// How long the attempt ran; none while it runs.
    pub(crate) run: Option<std::time::Duration>,
    pub(crate) read_local_bytes: u64,
    pub(crate) read_remote_bytes: u64,
    pub(crate) spilled_bytes: u64,
}

/// Reads a state.
pub(crate) fn report(state: State) -> Report {
    let mut report = Report {
        state: AttemptState::Cancelled,
        inline_result: None,
        operators: Vec::new(),
        run: None,
        read_local_bytes: 0,
        read_remote_bytes: 0,
        spilled_bytes: 0,
    };
    match state {
        State::Running(running) => {
            report.state = AttemptState::Running {
                rows: running.rows,
                bytes: running.bytes,
            };
        }
        State::Finished(finished) => {
            report.state = AttemptState::Finished {
                summary: finished.output.unwrap_or_default().into(),
                inline: finished.inline_result.is_some(),
            };
            report.inline_result = finished.inline_result;
            report.operators = finished.operators.into_iter().map(operator).collect();
            report.run = Some(std::time::Duration::from_micros(finished.run_micros));
            report.read_local_bytes = finished.read_local_bytes;
            report.read_remote_bytes = finished.read_remote_bytes;
            report.spilled_bytes = finished.spilled_bytes;
        }
        State::Failed(failed) => report.state = AttemptState::Failed(failed_to_error(failed)),
        State::Cancelled(_) => {}
    }
    report
}

fn operator(operator: cluster::OperatorMetrics) -> Vec<OperatorMetric> {
    let metrics = operator.metrics.into_iter().map(|metric| OperatorMetric {
        unit: match metric.unit() {
            cluster::Unit::Nanoseconds => MetricUnit::Nanoseconds,
            cluster::Unit::Bytes => MetricUnit::Bytes,
            cluster::Unit::Count | cluster::Unit::Unspecified => MetricUnit::Count,
        },
        name: metric.name,
        value: metric.value,
    });
    metrics.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use paceline_model::{ExchangeKind, ExecutorId, OutputLocation, PartitionRange};
    use prost::Message as _;

    use super::*;

    /// The length of a launch of so many tasks that read so many outputs.
    fn length(consumers: u32, producers: u32) -> usize {
        let stage = Stage {
            id: StageId(1),
            plan: Arc::from(&b""[..]),
            partitions: consumers,
            divisible: true,
            exchange: ExchangeKind::Forward,
            inputs: Vec::new(),
            deterministic: true,
            scan_bytes: 0,
            text: Arc::from(""),
        };
        let settings = BTreeMap::new();
        let of = LaunchOf {
            query: QueryId::from_slice(&[7; 16]).unwrap(),
            epoch: Epoch(0),
            stage: &stage,
            with_plan: true,
            inline_limit: 0,
            settings: &settings,
        };
        let tasks: Vec<_> = (0..consumers)
            .map(|task| TaskLaunch {
                task: TaskId(task),
                attempt: Attempt(0),
                partitions: PartitionRange::new(task, 1),
                slots: 1,
            })
            .collect();
        let outputs: Vec<_> = (0..producers)
            .map(|task| OutputLocation {
                task: TaskId(task),
                attempt: Attempt(0),
                partitions: PartitionRange::new(0, consumers),
                executor: ExecutorId::new(format!("x{}", task % 3)),
                address: "executor.example:50052".to_string(),
            })
            .collect();
        let message = launch(&of, &tasks, &[(StageId(0), outputs.into())]);
        let message = Some(message);
        cluster::FromScheduler { message }.encoded_len()
    }

    #[test]
    fn a_launch_grows_with_producers_and_consumers_and_not_with_their_product() {
        let apart = length(2000, 1) + length(1, 2000);
        let together = length(2000, 2000);
        assert!(together <= apart + 8 * 2000, "{together} and {apart} bytes");
        assert!(length(1, 2000) > 2000, "outputs are in it");
    }
}
