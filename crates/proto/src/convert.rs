//! Between the wire and the model.

use bytes::Bytes;
use paceline_model::{
    Attempt, ErrorClass, ExecutorId, LostOutput, MOST_PARTITIONS, OutputId, OutputLocation,
    OutputSummary, PartitionRange, QueryError, QueryId, StageId, TaskId,
};

use crate::cluster;

/// A message that no Paceline process would have sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {field} {problem}")]
pub struct Malformed {
    /// The field at fault.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl Malformed {
    /// The field is missing.
    pub fn missing(field: &'static str) -> Self {
        Malformed {
            field,
            problem: "is missing".to_string(),
        }
    }
}

/// Reads a query id.
///
/// # Errors
/// [`Malformed`] if it is not 16 bytes long.
pub fn query_id(bytes: &[u8]) -> Result<QueryId, Malformed> {
    QueryId::from_slice(bytes).map_err(|e| Malformed {
        field: "query",
        problem: e.to_string(),
    })
}

/// The attempt without its query, for messages that name the query once.
pub fn attempt_ref(id: OutputId) -> cluster::AttemptRef {
    cluster::AttemptRef {
        stage: id.stage.0,
        task: id.task.0,
        attempt: id.attempt.0,
    }
}

impl cluster::AttemptRef {
    /// The attempt as one of that query's.
    pub fn of(&self, query: QueryId) -> OutputId {
        OutputId {
            query,
            stage: StageId(self.stage),
            task: TaskId(self.task),
            attempt: Attempt(self.attempt),
        }
    }
}

impl cluster::TaskState {
    /// The attempt that the state is of.
    ///
    /// # Errors
    /// [`Malformed`] if the query id is none.
    pub fn output_id(&self) -> Result<OutputId, Malformed> {
        Ok(OutputId {
            query: query_id(&self.query)?,
            stage: StageId(self.stage),
            task: TaskId(self.task),
            attempt: Attempt(self.attempt),
        })
    }
}

impl From<OutputSummary> for cluster::OutputSummary {
    fn from(summary: OutputSummary) -> Self {
        cluster::OutputSummary {
            rows: summary.rows,
            bytes: summary.bytes,
            partition_bytes: summary.partition_bytes,
            disk_bytes: summary.disk_bytes,
        }
    }
}

impl From<cluster::OutputSummary> for OutputSummary {
    fn from(summary: cluster::OutputSummary) -> Self {
        OutputSummary {
            rows: summary.rows,
            bytes: summary.bytes,
            partition_bytes: summary.partition_bytes,
            disk_bytes: summary.disk_bytes,
        }
    }
}

/// The wire form of an error.
pub fn error_to_failed(error: &QueryError) -> cluster::Failed {
    cluster::Failed {
        class: error.class.as_str().to_string(),
        message: error.message.clone(),
        lost: error
            .lost
            .iter()
            .map(|lost| cluster::LostOutput {
                stage: lost.stage.0,
                task: lost.task.0,
                attempt: lost.attempt.0,
                executor: lost.executor.to_string(),
                unreachable: lost.unreachable,
            })
            .collect(),
    }
}

/// Reads an error. A class that this version does not know is held for a fault of Paceline's own,
/// which nobody retries.
pub fn failed_to_error(failed: cluster::Failed) -> QueryError {
    QueryError {
        class: ErrorClass::parse(&failed.class).unwrap_or(ErrorClass::Bug),
        message: failed.message,
        lost: failed
            .lost
            .into_iter()
            .map(|lost| LostOutput {
                stage: StageId(lost.stage),
                task: TaskId(lost.task),
                attempt: Attempt(lost.attempt),
                executor: ExecutorId::new(lost.executor),
                unreachable: lost.unreachable,
            })
            .collect(),
    }
}

/// Collects the locations of several stages' outputs into the compact form of the wire, in which
/// each executor is named once.
#[derive(Debug, Default)]
pub struct OutputTable {
    /// The executors named so far.
    pub executors: Vec<cluster::ExecutorRef>,
    /// The stages added so far.
    pub stages: Vec<cluster::StageOutputs>,
}

impl OutputTable {
    /// Adds one stage's outputs.
    pub fn add(&mut self, stage: StageId, outputs: &[OutputLocation]) {
        let outputs = outputs
            .iter()
            .map(|location| cluster::Output {
                task: location.task.0,
                attempt: location.attempt.0,
                first_partition: location.partitions.first,
                partitions: location.partitions.count,
                executor: self.executor(location),
            })
            .collect();
        self.stages.push(cluster::StageOutputs {
            stage: stage.0,
            outputs,
        });
    }

    fn executor(&mut self, location: &OutputLocation) -> u32 {
        let name = location.executor.as_str();
        let index = self
            .executors
            .iter()
            .position(|known| known.executor == name && known.address == location.address)
            .unwrap_or_else(|| {
                self.executors.push(cluster::ExecutorRef {
                    executor: name.to_string(),
                    address: location.address.clone(),
                });
                self.executors.len() - 1
            });
        u32::try_from(index).unwrap_or(u32::MAX)
    }
}

/// Reads a range of partitions.
///
/// # Errors
/// [`Malformed`] if no exchange has such partitions.
pub fn partition_range(first: u32, count: u32) -> Result<PartitionRange, Malformed> {
    PartitionRange::try_new(first, count).ok_or_else(|| Malformed {
        field: "partitions",
        problem: format!(
            "are {count} from {first} on, and no exchange has more than {MOST_PARTITIONS}"
        ),
    })
}

/// Reads one stage's outputs back.
///
/// # Errors
/// [`Malformed`] if an output names an executor that the table lacks, or partitions that none has.
pub fn output_locations(
    outputs: &[cluster::Output],
    executors: &[cluster::ExecutorRef],
) -> Result<Vec<OutputLocation>, Malformed> {
    outputs
        .iter()
        .map(|output| {
            let holder = executors
                .get(output.executor as usize)
                .ok_or_else(|| Malformed {
                    field: "executor",
                    problem: format!("{} is not in the table of executors", output.executor),
                })?;
            Ok(OutputLocation {
                task: TaskId(output.task),
                attempt: Attempt(output.attempt),
                partitions: partition_range(output.first_partition, output.partitions)?,
                executor: ExecutorId::new(holder.executor.as_str()),
                address: holder.address.clone(),
            })
        })
        .collect()
}

/// The wire form of a query id.
pub fn query_bytes(query: QueryId) -> Bytes {
    Bytes::copy_from_slice(&query.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_survives_the_wire() {
        for class in ErrorClass::ALL {
            let error = QueryError {
                class,
                message: "what is wrong".to_string(),
                lost: vec![LostOutput {
                    stage: StageId(1),
                    task: TaskId(2),
                    attempt: Attempt(3),
                    executor: ExecutorId::new("e"),
                    unreachable: true,
                }],
            };
            assert_eq!(failed_to_error(error_to_failed(&error)), error);
        }
    }

    #[test]
    fn executors_are_named_once_and_found_again() {
        let location = |task: u32, executor: &str| OutputLocation {
            task: TaskId(task),
            attempt: Attempt(0),
            partitions: PartitionRange::new(task, 1),
            executor: ExecutorId::new(executor),
            address: format!("{executor}:1"),
        };
        let locations = [location(0, "a"), location(1, "b"), location(2, "a")];
        let mut table = OutputTable::default();
        table.add(StageId(0), &locations);
        assert_eq!(table.executors.len(), 2);
        let read = output_locations(&table.stages[0].outputs, &table.executors);
        assert_eq!(read.as_deref(), Ok(&locations[..]));
        assert!(output_locations(&table.stages[0].outputs, &[]).is_err());
    }

    #[test]
    fn partitions_that_no_exchange_has_are_refused() {
        let holder = [cluster::ExecutorRef::default()];
        for (first_partition, partitions) in [(0, u32::MAX), (u32::MAX, 2)] {
            let output = cluster::Output {
                first_partition,
                partitions,
                ..cluster::Output::default()
            };
            let refused = output_locations(&[output], &holder).unwrap_err();
            assert_eq!(refused.field, "partitions");
            let text = refused.to_string();
            let wrong = format!("{partitions} from {first_partition} on");
            assert!(text.contains(&wrong), "{text}");
        }
    }
}
