//! Files that no entry of the catalog names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use paceline_model::{QueryError, QueryId, TableId};
use paceline_plan::{Folder, WriteInto};
use paceline_store::{CatalogSnapshot, DataFile, Relation};
use url::Url;

use crate::duties::Duties;
use crate::enqueued::away;
use crate::expiry::readable_outcome;
use crate::moment::now_and_then;
use crate::shared::Shared;

/// How often files are looked for that were left behind, at least and at most.
const SWEEP: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// For how long after it was first seen to have ended a query's folder is looked at.
const WATCHED: Duration = Duration::from_secs(600);

/// By how much the times of files may be behind the clock of who accepts queries. They move in steps.
const CLOCKS_MILLIS: u64 = 1_000;

/// Removes what a query left beside the files that count. What cannot be removed now is found by
/// [`sweep_leftovers`].
pub(super) async fn remove(
    shared: &Arc<Shared>,
    into: &WriteInto,
    query: QueryId,
    count: &[DataFile],
    failed: bool,
) {
    let folder = Folder::new(shared.planner.engine());
    let removed = match into {
        WriteInto::Create { table, .. } => {
            let keep = names(count);
            folder.remove_below(&table.location, query, &keep).await
        }
        // A journal that was damaged did not say where.
        WriteInto::Append { location, .. } if location.is_empty() => return,
        WriteInto::Append { location, .. } => {
            let keep = names(count);
            folder.remove_below(location, query, &keep).await
        }
        WriteInto::Files { location } => {
            let since = accepted(shared, query);
            match failed {
                true => folder.remove_named(location, query, since).await,
                false => folder.remove_staged(location, query, since).await,
            }
        }
    };
    match removed {
        Ok(0) => {}
        Ok(files) => tracing::info!(%query, files, "removed files that do not count"),
        Err(error) => {
            tracing::warn!(%query, %error, "files that do not count could not be removed yet");
        }
    }
}

/// Removes what a query wrote where others look, if that failed. Attempts may write until they hear of
/// it, so this is done again when one has stopped.
pub(crate) async fn remove_leftovers(shared: &Arc<Shared>, query: QueryId) {
    if let Some(into) = shared.driver.leaves_behind(query) {
        remove(shared, &into, query, &[], true).await;
    }
}

/// When a query was accepted, as a file system may count: what was written before is not its own.
fn accepted(shared: &Shared, query: QueryId) -> u64 {
    let status = shared.driver.status(&query);
    let accepted = status.and_then(|status| status.accepted_at_unix_ms);
    accepted.map_or(u64::MAX, |accepted| accepted.saturating_sub(CLOCKS_MILLIS))
}

fn names(files: &[DataFile]) -> BTreeSet<String> {
    files.iter().map(|file| file.path.clone()).collect()
}

/// Looks for files that no entry names and no query will, for as long as it is polled: those of attempts
/// that ended after their query, and those of tables that were dropped. The schedulers share that work.
pub(crate) async fn sweep_leftovers(shared: Arc<Shared>) {
    let (shortest, longest) = SWEEP;
    let every = (shared.dropped_ttl / 4).clamp(shortest, longest);
    let mut ticks = now_and_then(every);
    let mut sweep = Sweep::default();
    loop {
        ticks.tick().await;
        if let Err(error) = sweep.once(&shared).await {
            tracing::warn!(%error, "could not look for files that were left behind");
        }
    }
}

#[derive(Default)]
struct Sweep {
    /// Since when queries are known to have ended.
    ended: BTreeMap<QueryId, Instant>,
    /// Since when tables were seen to be gone.
    dropped: BTreeMap<TableId, Instant>,
}

impl Sweep {
    async fn once(&mut self, shared: &Arc<Shared>) -> Result<(), QueryError> {
        let Some(data) = &shared.data else {
            return Ok(());
        };
        let found = Folder::new(shared.planner.engine()).queries(data).await?;
        let there: BTreeSet<QueryId> = found.iter().map(|(_, query)| *query).collect();
        self.ended.retain(|query, _| there.contains(query));
        let tables: BTreeSet<TableId> = found.iter().map(|(table, _)| *table).collect();
        self.dropped.retain(|table, _| tables.contains(table));
        let duties = Duties::of(shared);
        for (table, query) in found {
            if duties.include(query) {
                self.look_at(shared, data, table, query).await?;
            }
        }
        Ok(())
    }

    /// Looks at what one query left in one table.
    async fn look_at(
        &mut self,
        shared: &Arc<Shared>,
        data: &Url,
        table: TableId,
        query: QueryId,
    ) -> Result<(), QueryError> {
        let known = shared.catalog.known();
        if known.was_dropped(table) && !self.has_been_dropped_for(table, shared.dropped_ttl) {
            return Ok(());
        }
        let named = named_by(&known, table, query);
        let since = self.ended.get(&query);
        if named.is_some() && since.is_some_and(|since| since.elapsed() > WATCHED) {
            return Ok(());
        }
        let keep = match named {
            Some(keep) if !keep.is_empty() => keep,
            _ if known.was_dropped(table) => BTreeSet::new(),
            _ => match self.of_ended(shared, table, query).await? {
                Some(keep) => keep,
                None => return Ok(()),
            },
        };
        let location = format!("{}/{table}/", data.as_str().trim_end_matches('/'));
        let folder = Folder::new(shared.planner.engine());
        folder.remove_below(&location, query, &keep).await?;
        self.ended.entry(query).or_insert_with(Instant::now);
        Ok(())
    }

    /// What is to be kept of a query that no entry is known of; none if nothing may be removed yet.
    async fn of_ended(
        &mut self,
        shared: &Arc<Shared>,
        table: TableId,
        query: QueryId,
    ) -> Result<Option<BTreeSet<String>>, QueryError> {
        let outcome = readable_outcome(&shared.journaling.claims, query).await;
        if outcome.map_err(|e| away(&e))?.is_none() {
            return Ok(None);
        }
        // The entry came before the outcome: what is read now has it.
        let current = shared.catalog.snapshot().await?;
        Ok(match named_by(&current, table, query) {
            Some(keep) => Some(keep),
            // The next look knows that, and since when.
            None if current.was_dropped(table) => None,
            None => Some(BTreeSet::new()),
        })
    }

    /// Whether it is so long since a table was first seen to be dropped. Its files may be read by
    /// queries that were planned before.
    fn has_been_dropped_for(&mut self, table: TableId, ttl: Duration) -> bool {
        let since = self.dropped.entry(table).or_insert_with(Instant::now);
        since.elapsed() >= ttl
    }
}

/// The files that a table has of a query; none if there is no such table.
fn named_by(catalog: &CatalogSnapshot, table: TableId, query: QueryId) -> Option<BTreeSet<String>> {
    let relations = catalog.schemas().flat_map(|(_, schema)| schema.relations());
    let mut tables = relations.filter_map(|(_, relation)| match relation {
        Relation::Table(stored) if stored.table.id == table => Some(stored),
        _ => None,
    });
    let stored = tables.next()?;
    let own = stored.writes().filter(|written| written.query == query);
    Some(own.flat_map(|written| names(&written.files)).collect())
}
