//! Writes of files as bytes.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::{Result, internal_datafusion_err};
use datafusion::physical_plan::ExecutionPlan;
use prost::Message;

use crate::catalog::{schema_from_ipc, schema_to_ipc};
use crate::encoder::{FileFormat, Kind};
use crate::write_files::{FileWrite, WriteFilesExec};
use crate::write_names::Names;

/// The wire form of a [`WriteFilesExec`] over a whole stage.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WriteFiles {
    #[prost(string, tag = "1")]
    location: String,
    /// 0: aside, 1: repeatable, 2: the location itself.
    #[prost(uint32, tag = "2")]
    names: u32,
    #[prost(string, tag = "3")]
    format: String,
    #[prost(map = "string, string", tag = "4")]
    options: HashMap<String, String>,
    /// The columns of the files.
    #[prost(bytes = "vec", tag = "5")]
    columns: Vec<u8>,
}

impl WriteFiles {
    pub(crate) fn from_operator(operator: &WriteFilesExec) -> Self {
        let write = operator.write();
        WriteFiles {
            location: write.location.clone(),
            names: match write.names {
                Names::Aside => 0,
                Names::Repeatable => 1,
                Names::Whole => 2,
            },
            format: write.format.kind.extension().to_string(),
            options: write.format.options.clone().into_iter().collect(),
            columns: schema_to_ipc(&write.columns),
        }
    }

    pub(crate) fn into_operator(self, input: Arc<dyn ExecutionPlan>) -> Result<WriteFilesExec> {
        let unknown = |what: &str| internal_datafusion_err!("a write of files has another {what}");
        let write = FileWrite {
            location: self.location,
            names: match self.names {
                0 => Names::Aside,
                1 => Names::Repeatable,
                2 => Names::Whole,
                _ => return Err(unknown("kind of names")),
            },
            format: FileFormat {
                kind: Kind::parse(&self.format).ok_or_else(|| unknown("format"))?,
                options: self.options.into_iter().collect(),
            },
            columns: schema_from_ipc(&self.columns)?,
        };
        Ok(WriteFilesExec::new(input, write, 0))
    }
}
