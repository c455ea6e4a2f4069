//! Tables whose files are Paceline's own: which these are is in the log, and nowhere else.

use std::collections::HashSet;
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
    writes: Writes,
}

impl StoredTable {
    /// The table as it begins.
    pub(crate) fn new(table: ManagedTable, query: Option<QueryId>, files: &[DataFile]) -> Self {
        let mut writes = Writes::default();
        if let Some(query) = query {
            writes.push(query, files);
        }
        StoredTable { table, writes }
    }

    /// One more query wrote into it.
    pub(crate) fn append(&mut self, query: QueryId, files: &[DataFile]) {
        self.writes.push(query, files);
    }

    /// Whether a query wrote into it.
    pub(crate) fn has_write_of(&self, query: QueryId) -> bool {
        self.writes.has(query)
    }

    /// What queries wrote into it, in the order in which they committed.
    pub fn writes(&self) -> impl Iterator<Item = &Written> {
        let runs = self.writes.runs.iter();
        runs.flat_map(|run| run.writes.iter().map(|written| &**written))
    }

    /// All its files.
    pub fn files(&self) -> impl Iterator<Item = &DataFile> {
        self.writes().flat_map(|written| &written.files)
    }
}

/// How many writes are copied at most, as a rule, when there is one more.
const RUN: usize = 256;

/// Writes, in their order, in runs that versions of the table share: the last one grows up to [`RUN`], and
/// two that are equally long become one. So there are few, however many writes there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Writes {
    runs: Vec<Arc<Run>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Run {
    writes: Vec<Arc<Written>>,
    queries: HashSet<QueryId>,
}

impl Writes {
    fn push(&mut self, query: QueryId, files: &[DataFile]) {
        let files = files.to_vec();
        let written = Arc::new(Written { query, files });
        match self.runs.last_mut() {
            Some(last) if last.writes.len() < RUN => Arc::make_mut(last).push(written),
            _ => {
                let mut run = Run::default();
                run.push(written);
                self.runs.push(Arc::new(run));
            }
        }
        while let [.., before, last] = self.runs.as_mut_slice()
            && last.writes.len() >= RUN
            && before.writes.len() == last.writes.len()
        {
            let joined = Arc::make_mut(before);
            joined.writes.extend(last.writes.iter().cloned());
            joined.queries.extend(&last.queries);
            self.runs.pop();
        }
    }

    fn has(&self, query: QueryId) -> bool {
        self.runs.iter().any(|run| run.queries.contains(&query))
    }
}

impl Run {
    fn push(&mut self, written: Arc<Written>) {
        self.queries.insert(written.query);
        self.writes.push(written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(n: u128) -> QueryId {
        QueryId::from_slice(&n.to_be_bytes()).unwrap()
    }

    /// Each version is kept while the next one is made, as one that is planned with may be.
    #[test]
    fn one_more_write_copies_few_others_and_is_found_among_few() {
        const MANY: u128 = 20_000;
        let table = ManagedTable {
            schema: String::new(),
            name: String::new(),
            id: TableId::from_slice(&[7; 16]).unwrap(),
            location: String::new(),
            arrow_schema: Bytes::new(),
            definition: String::new(),
        };
        let mut stored = StoredTable::new(table, Some(query(0)), &[]);
        let mut copied = 0;
        for n in 1..MANY {
            let before = stored.clone();
            stored.append(query(n), &[]);
            let is_shared =
                |run: &&Arc<Run>| before.writes.runs.iter().any(|r| Arc::ptr_eq(r, run));
            let made = stored.writes.runs.iter().filter(|run| !is_shared(run));
            copied += made.map(|run| run.writes.len()).sum::<usize>();
            assert!(stored.writes.runs.len() < 16, "{n}");
        }
        assert!(copied < 300 * MANY as usize, "{copied}");
        let written = stored.writes().map(|written| written.query);
        assert!(written.eq((0..MANY).map(query)), "in their order");
        assert!((0..MANY).all(|n| stored.has_write_of(query(n))));
        assert!(!stored.has_write_of(query(MANY)));
    }
}
