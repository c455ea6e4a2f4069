//! What can happen to the catalog, as the log records it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use paceline_model::{InvalidId, QueryId, TableId};
use serde::{Deserialize, Serialize};

use super::{DataFile, ManagedTable};

/// One change. Conditions such as `IF EXISTS` were resolved before it was written: it happens
/// exactly as it says, to the version right before its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CatalogChange {
    /// A schema appears.
    CreateSchema {
        /// Its name.
        name: String,
    },
    /// A schema disappears, with all that is in it.
    DropSchema {
        /// Its name.
        name: String,
    },
    /// An external table appears, in the place of whatever relation had its name.
    CreateExternalTable {
        /// The table.
        table: ExternalTable,
    },
    /// A view appears, in the place of whatever relation had its name.
    CreateView {
        /// The view.
        view: View,
    },
    /// A managed table appears, in the place of whatever relation had its name.
    CreateTable {
        /// The table.
        table: ManagedTable,
        /// The query that filled it; none if it begins empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        query: Option<QueryId>,
        /// What the query left.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        files: Vec<DataFile>,
    },
    /// A managed table has more rows.
    Append {
        /// The query that wrote them.
        query: QueryId,
        /// The schema that the table is in.
        schema: String,
        /// Its name.
        name: String,
        /// Which table that was: one that was dropped meanwhile gets nothing.
        table: TableId,
        /// What the query left.
        files: Vec<DataFile>,
    },
    /// A query that writes has come to nothing: no entry after this one is its own.
    Abandon {
        /// The query.
        query: QueryId,
        /// Whether it came to nothing because there was a table already, with `IF NOT EXISTS`. Who does not
        /// know this writes nothing either.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        kept: bool,
    },
    /// A table disappears.
    DropTable {
        /// The schema it is in.
        schema: String,
        /// Its name.
        name: String,
    },
    /// A view disappears.
    DropView {
        /// The schema it is in.
        schema: String,
        /// Its name.
        name: String,
    },
}

impl CatalogChange {
    /// The kinds that this Paceline knows, as records name them.
    pub(crate) const KINDS: [&'static str; 9] = [
        "create_schema",
        "drop_schema",
        "create_external_table",
        "create_view",
        "create_table",
        "append",
        "abandon",
        "drop_table",
        "drop_view",
    ];
}

/// The name that a client gave a change, so that it happens once however often it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeName {
    /// The query that the name stands for.
    pub query: QueryId,
    /// What tells its statement from another one: a digest.
    pub statement: String,
}

/// How the files of a table are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableFormat {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values, with whatever separator.
    Csv,
    /// One JSON object a line.
    Json,
    /// Arrow IPC files.
    Arrow,
}

impl TableFormat {
    /// The format as `STORED AS` names it.
    pub fn as_str(self) -> &'static str {
        match self {
            TableFormat::Parquet => "PARQUET",
            TableFormat::Csv => "CSV",
            TableFormat::Json => "JSON",
            TableFormat::Arrow => "ARROW",
        }
    }
}

impl fmt::Display for TableFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TableFormat {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.to_ascii_uppercase().as_str() {
            "PARQUET" => Ok(TableFormat::Parquet),
            "CSV" => Ok(TableFormat::Csv),
            "JSON" | "NDJSON" => Ok(TableFormat::Json),
            "ARROW" => Ok(TableFormat::Arrow),
            _ => Err(InvalidId {
                text: text.to_string(),
                expected: "table format (PARQUET, CSV, JSON or ARROW)",
            }),
        }
    }
}

/// A table whose files are somebody else's.
///
/// `Debug` leaves out the values of options, and the statement, because both may carry the
/// credentials of the place where the files lie.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalTable {
    /// The schema it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Where its files lie: a URL of a file, or of a directory that ends in `/`.
    pub location: String,
    /// How its files are written.
    pub format: TableFormat,
    /// What the statement said under `OPTIONS`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The columns, partition columns last, as the schema message of an Arrow IPC stream.
    #[serde(with = "crate::base64_text")]
    pub arrow_schema: Bytes,
    /// The columns that are in the names of directories and not in the files.
    #[serde(default)]
    pub partition_columns: Vec<String>,
    /// The statement that created it.
    #[serde(default)]
    pub definition: String,
    /// The settings that the statement was read under, where they matter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

impl fmt::Debug for ExternalTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalTable")
            .field("schema", &self.schema)
            .field("name", &self.name)
            .field("location", &self.location)
            .field("format", &self.format)
            .field("options", &self.options.keys().collect::<Vec<_>>())
            .field("partition_columns", &self.partition_columns)
            .finish_non_exhaustive()
    }
}

/// A named query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The schema it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The statement that created it, from which it is planned anew each time.
    pub sql: String,
    /// The settings that the statement is read under, where they matter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}
