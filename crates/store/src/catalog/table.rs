//! Tables whose files are Paceline's own: which these are is in the log, and nowhere else.

use std::sync::Arc;

use bytes::Bytes;
use paceline_model::{QueryId, TableId};
use serde::{Deserialize, Serialize};

/// A managed table as it was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedTable {
    /// The schema it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Which table this is, whatever its name is.
    pub id: TableId,
    /// The folder of its files: a URL that ends in `/`.
    pub location: String,
    /// The columns, as the schema message of an Arrow IPC stream.
    #[serde(with = "crate::base64_text")]
    pub arrow_schema: Bytes,
    /// The statement that created it.
    #[serde(default)]
    pub definition: String,
}

/// One file of a managed table. It is never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Where it lies below the folder of its table.
    pub path: String,
    /// How many rows it has.
    pub rows: u64,
    /// How long it is.
    pub bytes: u64,
}

/// What one query wrote into a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The query.
    pub query: QueryId,
    /// The files that it left.
    pub files: Vec<DataFile>,
}

/// A managed table as of one version of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTable {
    /// The table.
    pub table: ManagedTable,
    /// What queries wrote into it, in the order in which they committed.
    pub writes: Vec<Arc<Written>>,
}

impl StoredTable {
    /// The table as it begins.
    pub(crate) fn new(table: ManagedTable, query: Option<QueryId>, files: &[DataFile]) -> Self {
        let first = query.map(|query| written(query, files));
        StoredTable {
            table,
            writes: first.into_iter().collect(),
        }
    }

    /// The table with what one more query wrote.
    #[must_use]
    pub(crate) fn appended(&self, query: QueryId, files: &[DataFile]) -> Self {
        let mut more = self.clone();
        more.writes.push(written(query, files));
        more
    }

    /// Whether a query wrote into it.
    pub(crate) fn has_write_of(&self, query: QueryId) -> bool {
        self.writes.iter().any(|written| written.query == query)
    }

    /// All its files.
    pub fn files(&self) -> impl Iterator<Item = &DataFile> {
        self.writes.iter().flat_map(|written| &written.files)
    }
}

fn written(query: QueryId, files: &[DataFile]) -> Arc<Written> {
    let files = files.to_vec();
    Arc::new(Written { query, files })
}
