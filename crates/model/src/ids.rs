//! Identifiers. Each is a type of its own, so that a stage can never be passed for a task.
//!
//! ```compile_fail
//! use paceline_model::{StageId, TaskId};
//! let stage: StageId = TaskId(3);
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Text that does not name what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {expected}")]
pub struct InvalidId {
    /// What was read.
    pub text: String,
    /// What it should have been.
    pub expected: &'static str,
}

/// Names one query for its whole life, whichever scheduler owns it. A UUIDv7, or a UUIDv8 made of the
/// name that its client gave it: so ids do not sort by the time at which their queries were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QueryId(pub Uuid);

impl QueryId {
    /// The id as its 16 bytes, for the wire.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// The moment that a UUIDv7 carries, in milliseconds since 1970; none in other ids.
    pub fn unix_ms(self) -> Option<u64> {
        if self.0.get_version_num() != 7 {
            return None;
        }
        let (seconds, nanoseconds) = self.0.get_timestamp()?.to_unix();
        seconds
            .checked_mul(1000)?
            .checked_add(u64::from(nanoseconds / 1_000_000))
    }

    /// Reads the id from the wire.
    ///
    /// # Errors
    /// [`InvalidId`] if `bytes` is not 16 bytes long.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, InvalidId> {
        Uuid::from_slice(bytes).map(QueryId).map_err(|_| InvalidId {
            text: format!("{} bytes", bytes.len()),
            expected: "query id",
        })
    }
}

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for QueryId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::parse_str(text).map(QueryId).map_err(|_| InvalidId {
            text: text.to_string(),
            expected: "query id",
        })
    }
}

/// Names one managed table for its whole life. A table that is dropped and created again has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TableId(pub Uuid);

impl TableId {
    /// Reads the id from the wire.
    ///
    /// # Errors
    /// [`InvalidId`] if `bytes` is not 16 bytes long.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, InvalidId> {
        Uuid::from_slice(bytes).map(TableId).map_err(|_| InvalidId {
            text: format!("{} bytes", bytes.len()),
            expected: "table id",
        })
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The one after this.
            #[must_use]
            pub fn next(self) -> Self {
                $name(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// One stage of a query's graph; counted from 0 in the order in which stages can run.
    StageId(u32)
}
number! {
    /// One task of a stage; counted from 0 in the order of the partitions the tasks take.
    TaskId(u32)
}
number! {
    /// One try at a task, counted from 0. Two attempts of a task are interchangeable.
    Attempt(u32)
}
number! {
    /// Counts the owners a query has had. An executor refuses commands of a lower epoch than the
    /// highest it has seen.
    Epoch(u64)
}
number! {
    /// A version of the catalog: the number of the log entry that made it. 0 is the empty catalog.
    CatalogVersion(u64)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name. Cheap to clone afterwards.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                $name(name.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                $name::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.to_string()
            }
        }
    };
}

name! {
    /// One executor process. A restarted executor has a new one.
    ExecutorId
}
name! {
    /// One scheduler process. A restarted or fenced scheduler goes on under a new one.
    SchedulerId
}

/// Distinguishes two lives of what has the same address: drawn anew at each process start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub Uuid);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One task of one stage of one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskKey {
    /// The query.
    pub query: QueryId,
    /// The stage within the query.
    pub stage: StageId,
    /// The task within the stage.
    pub task: TaskId,
}

/// One attempt of one task, and the exchange output that the attempt leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OutputId {
    /// The query.
    pub query: QueryId,
    /// The stage within the query.
    pub stage: StageId,
    /// The task within the stage.
    pub task: TaskId,
    /// The attempt at the task.
    pub attempt: Attempt,
}

impl OutputId {
    /// The task that this is an attempt of.
    pub fn task_key(&self) -> TaskKey {
        TaskKey {
            query: self.query,
            stage: self.stage,
            task: self.task,
        }
    }
}

impl FromStr for OutputId {
    type Err = InvalidId;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId {
            text: text.to_string(),
            expected: "output id",
        };
        let parts: Vec<&str> = text.split('/').collect();
        let [query, stage, task, attempt] = parts.as_slice() else {
            return Err(invalid());
        };
        let number = |text: &str| text.parse::<u32>().map_err(|_| invalid());
        Ok(OutputId {
            query: query.parse()?,
            stage: StageId(number(stage)?),
            task: TaskId(number(task)?),
            attempt: Attempt(number(attempt)?),
        })
    }
}

impl fmt::Display for OutputId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.query, self.stage, self.task, self.attempt
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_found_again_by_its_name() {
        let id = OutputId {
            query: QueryId(Uuid::from_bytes([7; 16])),
            stage: StageId(1),
            task: TaskId(2),
            attempt: Attempt(3),
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            "",
            "1/2/3",
            "q/1/2/3",
            &format!("{id}/4"),
            &format!("{}/1/2/x", id.query),
        ] {
            assert!(text.parse::<OutputId>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_id_tells_when_it_was_made() {
        let id: QueryId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        assert_eq!(id.unix_ms(), Some(0x0189_0a5d_ac96));
        assert_eq!(QueryId(Uuid::from_u128(7)).unix_ms(), None);
    }
}
