//! What can go wrong, by what a caller can do about it.

use std::any::Any;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::error::ArrowError;
use paceline_model::{ErrorClass, LostOutput, OutputId, PartitionRange, QueryError, StageId};
use tokio::task::JoinError;

/// Why an output could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The output exists, and is being written or finished.
    #[error("output {output} exists already")]
    Exists {
        /// The output.
        output: OutputId,
    },
    /// The output has no such partition.
    #[error(
        "output {output} has partitions {}..{}, not {partition}",
        .range.first, .range.end()
    )]
    UnknownPartition {
        /// The output.
        output: OutputId,
        /// The partition that was to be written.
        partition: u32,
        /// Those it has.
        range: PartitionRange,
    },
    /// A batch does not have the columns that the output was declared with.
    #[error("a batch for output {output} does not fit its schema: {source}")]
    Schema {
        /// The output.
        output: OutputId,
        /// What does not fit.
        source: ArrowError,
    },
    /// Arrow could not copy or encode a batch.
    #[error("cannot encode a batch of output {output}: {source}")]
    Encode {
        /// The output.
        output: OutputId,
        /// What Arrow says.
        source: ArrowError,
    },
    /// The disk, a quota or a limit on the size of files is used up.
    #[error("no space left for exchange outputs in {}: {source}; free some or point the exchange directory at a larger disk", .path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another failure of the file system.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was to be done, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What was spilled is not what lies on disk now.
    #[error("output {output} was damaged on disk while it was being written")]
    Damaged {
        /// The output.
        output: OutputId,
    },
    /// The output was released while it was being written.
    #[error("output {output} was released while it was being written")]
    Released {
        /// The output.
        output: OutputId,
    },
    /// The blocking task that did the work was cancelled, as the runtime is shutting down.
    #[error("the runtime shut down while output {output} was being written")]
    Interrupted {
        /// The output.
        output: OutputId,
    },
    /// The work panicked. Another attempt would most likely meet the same.
    #[error("writing output {output} panicked: {text}; please report the statement")]
    Panicked {
        /// The output.
        output: OutputId,
        /// What the panic said.
        text: String,
    },
}

/// What a task said that panicked; none if it was cancelled, as the runtime is shutting down.
pub(crate) fn panic_of(error: JoinError) -> Option<String> {
    let panic = error.try_into_panic().ok()?;
    Some(panic_text(panic.as_ref()))
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_string()
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => StoreError::Full { path, source },
            _ => StoreError::Io {
                action,
                path,
                source,
            },
        }
    }

    /// Why a blocking task that wrote to the output did not come to its end.
    pub(crate) fn not_joined(output: OutputId, error: JoinError) -> Self {
        match panic_of(error) {
            Some(text) => StoreError::Panicked { output, text },
            None => StoreError::Interrupted { output },
        }
    }

    /// What a caller can do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            StoreError::Full { .. } => ErrorClass::Resource,
            StoreError::Io { .. } | StoreError::Damaged { .. } => ErrorClass::Retryable,
            StoreError::Released { .. } | StoreError::Interrupted { .. } => ErrorClass::Cancelled,
            StoreError::Exists { .. }
            | StoreError::UnknownPartition { .. }
            | StoreError::Schema { .. }
            | StoreError::Encode { .. }
            | StoreError::Panicked { .. } => ErrorClass::Bug,
        }
    }

    /// The failure as a query's.
    pub fn to_query_error(&self) -> QueryError {
        QueryError::new(self.class(), self.to_string())
    }
}

/// Why an output cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LostReason {
    /// Its holder knows nothing of it: it was never there, or was released.
    #[error("it is not there")]
    Missing,
    /// It was released while it was being read.
    #[error("it was released while it was being read")]
    Released,
    /// The attempt that was writing it ended without finishing it.
    #[error("the attempt that wrote it did not finish")]
    Aborted,
    /// It is still being written, and was to be read only if it is complete.
    #[error("it is not finished")]
    Unfinished,
    /// Its file is gone, cut short, or unreadable.
    #[error("its file cannot be read: {detail}")]
    File {
        /// What the holder found.
        detail: String,
    },
    /// What arrived is not what was written.
    #[error("its bytes do not match their checksum")]
    Checksum,
    /// Its holder says that it cannot be read.
    #[error("its holder says: {detail}")]
    Refused {
        /// What the holder says.
        detail: String,
    },
    /// Its holder cannot be reached, or the connection was cut twice.
    #[error("its holder at {address} cannot be reached: {detail}")]
    Unreachable {
        /// The holder's data plane.
        address: String,
        /// What the transport says.
        detail: String,
    },
}

impl LostReason {
    pub(crate) fn label(&self) -> &'static str {
        match self {
            LostReason::Missing => "missing",
            LostReason::Released => "released",
            LostReason::Aborted => "aborted",
            LostReason::Unfinished => "unfinished",
            LostReason::File { .. } => "file",
            LostReason::Checksum => "checksum",
            LostReason::Refused { .. } => "refused",
            LostReason::Unreachable { .. } => "unreachable",
        }
    }

    pub(crate) fn unreachable(&self) -> bool {
        matches!(self, LostReason::Unreachable { .. })
    }
}

/// Why an exchange could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// An output cannot be read; it has to be made again.
    #[error(
        "output {}/{}/{} on executor {} is lost: {reason}",
        .lost.stage, .lost.task, .lost.attempt, .lost.executor
    )]
    Lost {
        /// The output.
        lost: LostOutput,
        /// Why.
        reason: LostReason,
    },
    /// The task was given no locations for that stage.
    #[error("the task has no input from stage {stage}")]
    UnknownInput {
        /// The stage.
        stage: StageId,
    },
    /// The stage's exchange has no such partition, or not for this task.
    #[error(
        "the task reads partitions {}..{} of stage {stage}, not {partition}",
        .range.first, .range.end()
    )]
    UnknownPartition {
        /// The stage.
        stage: StageId,
        /// The partition asked for.
        partition: u32,
        /// Those that the task reads.
        range: PartitionRange,
    },
    /// This process or the holder has run out of something (file descriptors, memory).
    #[error("cannot read the exchange of stage {stage} for want of resources: {detail}")]
    Resource {
        /// The stage.
        stage: StageId,
        /// What ran out.
        detail: String,
    },
    /// A frame is not what its schema says, although its checksum is right: two sides disagree.
    #[error("cannot decode a frame of stage {stage}: {source}")]
    Malformed {
        /// The stage.
        stage: StageId,
        /// What does not fit.
        source: Arc<ArrowError>,
    },
    /// The holder does not speak this protocol, or holds a request of this process for invalid.
    #[error("the executor at {address} refused to be read: {detail}")]
    Protocol {
        /// The holder's data plane.
        address: String,
        /// What it said.
        detail: String,
    },
}

impl ReadError {
    /// What a caller can do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            ReadError::Lost { .. } => ErrorClass::OutputLost,
            ReadError::Resource { .. } => ErrorClass::Resource,
            ReadError::UnknownInput { .. }
            | ReadError::UnknownPartition { .. }
            | ReadError::Malformed { .. }
            | ReadError::Protocol { .. } => ErrorClass::Bug,
        }
    }

    /// The failure as a query's; names the lost output if there is one.
    pub fn to_query_error(&self) -> QueryError {
        match self {
            ReadError::Lost { lost, .. } => QueryError::output_lost(lost.clone(), self.to_string()),
            _ => QueryError::new(self.class(), self.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use paceline_model::{Attempt, QueryId, TaskId};
    use uuid::Uuid;

    use super::*;

    const OUTPUT: OutputId = OutputId {
        query: QueryId(Uuid::nil()),
        stage: StageId(0),
        task: TaskId(0),
        attempt: Attempt(0),
    };

    #[tokio::test]
    async fn a_panic_is_not_taken_for_a_shutdown() {
        let panics: [(&str, fn()); 2] = [
            ("as the test has it", || panic!("as the test has it")),
            ("in other words", || {
                std::panic::panic_any("in other words".to_string())
            }),
        ];
        for (said, panics) in panics {
            let joined = tokio::task::spawn_blocking(panics).await;
            let error = StoreError::not_joined(OUTPUT, joined.unwrap_err());
            assert_eq!(error.class(), ErrorClass::Bug);
            assert!(error.to_string().contains(said), "{error}");
        }
        let aborted = tokio::spawn(std::future::pending::<()>());
        aborted.abort();
        let error = StoreError::not_joined(OUTPUT, aborted.await.unwrap_err());
        assert_eq!(error.class(), ErrorClass::Cancelled);
    }
}
