//! Writes: one entry of the log makes all that a query wrote visible, at once and once.
//!
//! The entry names its query. Whoever is about to make it reads on in the log first, from the version
//! that the query was planned with: if the query has an entry there, that one counts and no other is
//! made. The latest entries are remembered, so this asks the store for little. It does not matter how
//! many owners a query had, how often each of them tried, or when what they sent arrives. A query that
//! failed, or found that there is a table already, gets an entry as well, for the same reason: one owner
//! must not say that it came to nothing while another one commits it.

use futures::{StreamExt, TryStreamExt, stream};
use paceline_model::{CatalogVersion, QueryId, SchedulerId, TableId};

use super::log::{READERS, TRIES};
use super::statement::may_create;
use super::{
    CatalogChange, CatalogError, CatalogLog, CatalogSnapshot, DataFile, ManagedTable, OnExisting,
    Relation,
};

/// What becomes of the rows that a query wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteTarget {
    /// They are a new table.
    Create {
        /// The table.
        table: ManagedTable,
        /// If its name is taken.
        existing: OnExisting,
    },
    /// They go into a table that was there when the query was planned.
    Append {
        /// The schema that the table is in.
        schema: String,
        /// Its name.
        name: String,
        /// Which table that was.
        table: TableId,
    },
}

/// What the log says of a query that writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// What it wrote is in the catalog.
    Committed {
        /// From this version on.
        version: CatalogVersion,
        /// The files that count. Others of the query do not.
        files: Vec<DataFile>,
    },
    /// It has come to nothing, and never will to anything else.
    Abandoned,
    /// `IF NOT EXISTS`, and there was one: it has come to nothing, and that is no failure.
    Kept,
}

impl WriteTarget {
    fn resolve(
        &self,
        on: &CatalogSnapshot,
        query: QueryId,
        files: &[DataFile],
    ) -> Result<CatalogChange, CatalogError> {
        let files = files.to_vec();
        match self {
            WriteTarget::Create { table, existing } => {
                let free = may_create(on, &table.schema, &table.name, "table", *existing)?;
                Ok(match free {
                    true => CatalogChange::CreateTable {
                        table: table.clone(),
                        query: Some(query),
                        files,
                    },
                    // The name may be free again when the next owner looks.
                    false => CatalogChange::Abandon { query, kept: true },
                })
            }
            WriteTarget::Append {
                schema,
                name,
                table,
            } => match on.relation(schema, name) {
                Some(Relation::Table(there)) if there.table.id == *table => {
                    Ok(CatalogChange::Append {
                        query,
                        schema: schema.clone(),
                        name: name.clone(),
                        table: *table,
                        files,
                    })
                }
                _ => Err(CatalogError::Gone {
                    name: format!("{schema}.{name}"),
                }),
            },
        }
    }
}

impl CatalogChange {
    /// The query that an entry decides about, if it does.
    pub(super) fn decides_about(&self) -> Option<QueryId> {
        match self {
            CatalogChange::CreateTable { query, .. } => *query,
            CatalogChange::Append { query, .. } | CatalogChange::Abandon { query, .. } => {
                Some(*query)
            }
            CatalogChange::CreateSchema { .. }
            | CatalogChange::DropSchema { .. }
            | CatalogChange::CreateExternalTable { .. }
            | CatalogChange::CreateView { .. }
            | CatalogChange::DropTable { .. }
            | CatalogChange::DropView { .. } => None,
        }
    }

    /// What the entry of that version decides for a query, if it is of that query.
    fn decides(&self, query: QueryId, version: CatalogVersion) -> Option<Decided> {
        match self {
            CatalogChange::CreateTable {
                query: Some(by),
                files,
                ..
            } if *by == query => Some(Decided::Committed {
                version,
                files: files.clone(),
            }),
            CatalogChange::Append {
                query: by, files, ..
            } if *by == query => Some(Decided::Committed {
                version,
                files: files.clone(),
            }),
            CatalogChange::Abandon { query: by, kept } if *by == query => Some(match kept {
                true => Decided::Kept,
                false => Decided::Abandoned,
            }),
            _ => None,
        }
    }
}

impl CatalogLog {
    /// Makes what a query wrote visible, unless the log has decided about the query already. The query
    /// was planned with version `since`, and `by` is the scheduler that asks.
    ///
    /// # Errors
    /// [`CatalogError`] if the target cannot take the rows any more; then nothing is decided yet. After
    /// a [`StoreError::Unknown`](crate::StoreError::Unknown) asking again finds out.
    pub async fn commit(
        &self,
        query: QueryId,
        target: &WriteTarget,
        files: &[DataFile],
        since: CatalogVersion,
        by: &SchedulerId,
    ) -> Result<Decided, CatalogError> {
        let resolve = |on: &CatalogSnapshot| target.resolve(on, query, files);
        self.decide(query, since, by, resolve).await
    }

    /// Decides that a query comes to nothing, unless the log has decided about it already.
    ///
    /// # Errors
    /// [`CatalogError`] if that is not known to be so; asking again finds out.
    pub async fn abandon(
        &self,
        query: QueryId,
        since: CatalogVersion,
        by: &SchedulerId,
    ) -> Result<Decided, CatalogError> {
        let kept = false;
        let resolve = |_: &CatalogSnapshot| Ok(CatalogChange::Abandon { query, kept });
        self.decide(query, since, by, resolve).await
    }

    async fn decide(
        &self,
        query: QueryId,
        since: CatalogVersion,
        by: &SchedulerId,
        resolve: impl Fn(&CatalogSnapshot) -> Result<CatalogChange, CatalogError>,
    ) -> Result<Decided, CatalogError> {
        // What is remembered no more is read before others have to wait for this one.
        let known = self.current();
        if let Some(decided) = self.look(query, since, &known).await? {
            return Ok(decided);
        }
        let mut looked = since.max(known.version());
        // Held to the end: of those that commit at once in this process, each has its turn and makes its
        // entry, instead of all of them looking how far one of them came.
        let tail = self.tail().await;
        for _ in 0..TRIES {
            let current = self.read_on(&tail).await?;
            if let Some(decided) = self.look(query, looked, &current).await? {
                return Ok(decided);
            }
            looked = current.version();
            let change = resolve(&current)?;
            // Lost to somebody else, perhaps to another owner of this query: look again.
            let tried = self.try_append(&tail, &current, change.clone(), by, None);
            if let Some(version) = tried.await?
                && let Some(decided) = change.decides(query, version)
            {
                return Ok(decided);
            }
        }
        Err(CatalogError::Contended { tries: TRIES })
    }

    /// What the entries after `after` decide for a query, as far as they are known `on` a version. Those
    /// that are remembered cost no request unless one of them does decide.
    async fn look(
        &self,
        query: QueryId,
        after: CatalogVersion,
        on: &CatalogSnapshot,
    ) -> Result<Option<Decided>, CatalogError> {
        let forgotten = stream::iter(after.0 + 1..=on.decisions_forgotten().0);
        let remembered = on.decided_after(query, after.max(on.decisions_forgotten()));
        let mut entries = forgotten
            .chain(stream::iter(remembered.map(|version| version.0)))
            .map(|version| async move {
                let version = CatalogVersion(version);
                let entry = self.read(version).await?;
                Ok::<_, CatalogError>((version, entry.change))
            })
            .buffered(READERS);
        while let Some((version, change)) = entries.try_next().await? {
            if let Some(decided) = change.and_then(|change| change.decides(query, version)) {
                return Ok(Some(decided));
            }
        }
        Ok(None)
    }
}
