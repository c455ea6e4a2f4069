//! From the list of files that executors wrote to the one outcome of the query.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use futures::TryStreamExt;
use paceline_frontend::Ticket;
use paceline_model::{CatalogVersion, Epoch, ErrorClass, QueryError, QueryId, QueryState};
use paceline_plan::WriteInto;
use paceline_store::{DataFile, Decided, Ending};

use super::leftovers;
use super::target::target;
use super::told::{ROWS, count_rows, rows_of};
use crate::agreement;
use crate::conclusion::{Broken, read_failure};
use crate::enqueued::{STATUS, away};
use crate::record::QueryRecord;
use crate::requested::note_request;
use crate::results::{self, Reading};
use crate::service::Service;
use crate::shared::Shared;

/// What a write has come to.
struct Came {
    /// Rows, or why none.
    rows: Result<u64, QueryError>,
    /// The files that count.
    files: Vec<DataFile>,
}

impl Came {
    fn to(files: Vec<DataFile>) -> Self {
        let rows = Ok(files.iter().map(|file| file.rows).sum());
        Came { rows, files }
    }

    fn to_nothing(error: QueryError) -> Self {
        Came {
            rows: Err(error),
            files: vec![],
        }
    }
}

/// What deciding about a write needs to know of it.
struct Known {
    query: QueryId,
    into: WriteInto,
    since: CatalogVersion,
    epoch: Epoch,
    ticket: Ticket,
    kept: bool,
}

fn known(record: &mut QueryRecord) -> Option<Known> {
    Some(Known {
        query: record.query,
        into: record.write.clone().filter(|_| !record.state.is_final())?,
        since: record.catalog,
        epoch: record.epoch,
        ticket: record.ticket.clone()?,
        kept: record.kept.is_some(),
    })
}

/// Decides what a write has come to, once its tasks have. Nothing to do for what only reads.
///
/// # Errors
/// If that is not decided yet; it may be tried again.
pub(crate) async fn decide(service: &Service, query: QueryId) -> Result<(), QueryError> {
    let shared = &service.shared;
    let Some(known) = shared.driver.with_record(&query, known).flatten() else {
        return Ok(());
    };
    let came = match files(service, &known).await {
        Ok(files) => came_to(shared, &known, files).await?,
        Err(Broken::Query(error)) => nothing(shared, &known, error).await?,
        Err(Broken::Store(error)) => return Err(error),
    };
    let rows = match known.kept {
        // Its outcome is made with its stored result.
        true => came.rows,
        false => outcome(shared, &known, came.rows).await?,
    };
    let failed = rows.is_err();
    shared
        .driver
        .with_record(&query, |record| record.settle_write(rows));
    shared.driver.decided(query);
    // Where files count as they are, they stay until the outcome says that they do not.
    let failed = failed && !known.kept;
    leftovers::remove(shared, &known.into, query, &came.files, failed).await;
    Ok(())
}

/// The list of files that the tasks left.
async fn files(service: &Service, known: &Known) -> Result<Vec<DataFile>, Broken> {
    let shared = &service.shared;
    let gone = || Broken::Store(crate::peers::unknown(known.query));
    let reading = Reading::of_manifest(&shared.driver, known.query).ok_or_else(gone)?;
    reading.complete().await.map_err(Broken::Query)?;
    let rows = results::rows(service.clone(), reading, known.ticket.clone());
    let batches: Vec<RecordBatch> = rows.try_collect().await.map_err(read_failure)?;
    batches
        .iter()
        .try_fold(Vec::new(), |mut all, batch| {
            all.extend(listed(batch)?);
            Some(all)
        })
        .ok_or_else(|| {
            let message = "the list of the files that were written cannot be read";
            Broken::Query(QueryError::new(ErrorClass::Bug, message))
        })
}

/// Reads [`paceline_plan::manifest_schema`].
fn listed(batch: &RecordBatch) -> Option<Vec<DataFile>> {
    let paths = batch.column_by_name("path")?.as_string_opt::<i32>()?;
    let number = |name: &str| batch.column_by_name(name)?.as_primitive_opt::<UInt64Type>();
    let (rows, bytes) = (number("rows")?, number("bytes")?);
    let file = |at: usize| DataFile {
        path: paths.value(at).to_string(),
        rows: rows.value(at),
        bytes: bytes.value(at),
    };
    Some((0..batch.num_rows()).map(file).collect())
}

/// Makes the files count, unless the log has decided otherwise.
async fn came_to(
    shared: &Arc<Shared>,
    known: &Known,
    files: Vec<DataFile>,
) -> Result<Came, QueryError> {
    let Some(target) = target(&known.into) else {
        return Ok(Came::to(files));
    };
    let me = shared.driver.me();
    let catalog = &shared.catalog;
    let decided = catalog.commit(known.query, &target, &files, known.since, &me);
    match decided.await {
        Ok(decided) => decided_as(shared, known, decided).await,
        Err(error) if error.class == ErrorClass::User => nothing(shared, known, error).await,
        Err(error) => Err(error),
    }
}

/// Sees to it that nobody makes the files count any more, unless somebody did.
async fn nothing(
    shared: &Arc<Shared>,
    known: &Known,
    error: QueryError,
) -> Result<Came, QueryError> {
    if target(&known.into).is_none() {
        return Ok(Came::to_nothing(error));
    }
    let me = shared.driver.me();
    let decided = shared
        .catalog
        .abandon(known.query, known.since, &me)
        .await?;
    match decided {
        Decided::Abandoned => Ok(Came::to_nothing(error)),
        other => decided_as(shared, known, other).await,
    }
}

async fn decided_as(
    shared: &Arc<Shared>,
    known: &Known,
    decided: Decided,
) -> Result<Came, QueryError> {
    match decided {
        Decided::Committed { version, files } => {
            tracing::info!(query = %known.query, %version, files = files.len(), "committed");
            shared.peers.tell_of_catalog(shared, version).await;
            Ok(Came::to(files))
        }
        Decided::Kept => {
            tracing::info!(query = %known.query, "kept the table that there is: nothing was written");
            Ok(Came::to(vec![]))
        }
        Decided::Abandoned => Ok(Came::to_nothing(QueryError::new(
            ErrorClass::Retryable,
            "another scheduler gave this write up: nothing was written; send it again",
        ))),
    }
}

/// Makes the one outcome, or finds it, and returns what it says.
async fn outcome(
    shared: &Shared,
    known: &Known,
    rows: Result<u64, QueryError>,
) -> Result<Result<u64, QueryError>, QueryError> {
    let state = state_of(&rows);
    let mut status = shared.driver.status(&known.query);
    if let Some(status) = &mut status {
        status.state = state;
        status.error = rows.as_ref().err().cloned();
    }
    let error = rows.as_ref().err().cloned();
    let mut result = serde_json::json!({ ROWS: rows.ok(), STATUS: status });
    note_request(shared, known.query, &mut result);
    let ending = Ending {
        state,
        by: shared.driver.me(),
        epoch: known.epoch,
        error,
        result,
    };
    let claims = &shared.journaling.claims;
    let made = claims.finish(known.query, &ending).await;
    let made = made.map_err(|e| away(&e))?;
    agreement::check(shared, known.query, &ending, &made);
    Ok(rows_of(&made))
}

fn state_of(rows: &Result<u64, QueryError>) -> QueryState {
    match rows {
        Ok(_) => QueryState::Finished,
        Err(error) if error.class == ErrorClass::Cancelled => QueryState::Cancelled,
        Err(_) => QueryState::Failed,
    }
}

/// What is left to do for a write whose client waits: nobody has to carry it on any more.
pub(crate) fn finish(service: &Service, query: QueryId) {
    service.shared.driver.write_over(query);
}

impl QueryRecord {
    fn settle_write(&mut self, rows: Result<u64, QueryError>) {
        let now = Instant::now();
        match rows {
            Ok(rows) => {
                self.rows_written = Some(rows);
                self.settle_rows(count_rows(rows), now);
            }
            Err(error) => {
                let state = state_of(&Err(error.clone()));
                self.settle_failed(state, error, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, StringArray, UInt64Array};
    use paceline_model::{Attempt, TableId, TaskId};
    use paceline_plan::{Change, ManagedDefinition};
    use url::Url;
    use uuid::Uuid;

    use super::*;
    use crate::testing::{outputs, planned, shared};
    use crate::writing::rows_in;

    /// `CREATE TABLE t AS …`, with its files in that folder.
    fn create(location: &Url, if_not_exists: bool) -> WriteInto {
        WriteInto::Create {
            table: ManagedDefinition {
                schema: "public".to_string(),
                name: "t".to_string(),
                id: TableId(Uuid::now_v7()),
                location: location.to_string(),
                sql: String::new(),
                columns: count_rows(0)[0].schema(),
                files: vec![],
            },
            if_not_exists,
            or_replace: false,
        }
    }

    /// A query whose one task has left a file of so many rows.
    fn wrote(shared: &Shared, into: &WriteInto, rows: u64) -> (QueryRecord, DataFile) {
        let mut record = planned(1);
        let file = DataFile {
            path: format!("{}/0-0-0-0.parquet", record.query),
            rows,
            bytes: 1,
        };
        let schema = paceline_plan::manifest_schema();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![file.path.clone()])),
            Arc::new(UInt64Array::from(vec![file.rows])),
            Arc::new(UInt64Array::from(vec![file.bytes])),
        ];
        let list = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        let list = results::to_ipc(&schema, &[list]).unwrap();
        record.write = Some(into.clone());
        record.ticket = Some(Ticket {
            query: record.query,
            accepted_by: shared.driver.me(),
            catalog: CatalogVersion(0),
            afresh: None,
            made: false,
        });
        record.keep_inline(TaskId(0), Attempt(0), list);
        record.settle_result(&outputs(1), false, Instant::now());
        (record, file)
    }

    /// The former owner met a table of that name and stood still there; the next one meets none.
    #[tokio::test]
    async fn a_table_that_one_owner_kept_is_made_by_no_later_one() {
        let directory = tempfile::tempdir().unwrap();
        let (former, next) = (
            shared(directory.path()).await,
            shared(directory.path()).await,
        );
        let me = former.driver.me();
        let data = Url::from_directory_path(directory.path().join("data")).unwrap();
        let nothing = CatalogVersion(0);
        let there = target(&create(&data, false)).unwrap();
        let other = QueryId(Uuid::now_v7());
        let made = former.catalog.commit(other, &there, &[], nothing, &me);
        assert!(matches!(made.await, Ok(Decided::Committed { .. })));

        let into = create(&data, true);
        let (record, file) = wrote(&next, &into, 3);
        let query = record.query;
        let path = directory.path().join("data").join(&file.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "rows").unwrap();
        let keep = target(&into).unwrap();
        let files = [file];
        let kept = former.catalog.commit(query, &keep, &files, nothing, &me);
        assert_eq!(kept.await, Ok(Decided::Kept));
        let drop = Change::DropTable {
            schema: "public".to_string(),
            name: "t".to_string(),
            if_exists: false,
        };
        former.catalog.change(drop, &me, None).await.unwrap();

        next.driver.submit(record, None);
        let service = Service::new(Arc::clone(&next));
        decide(&service, query).await.unwrap();
        let outcome = next.journaling.claims.outcome(query).await.unwrap();
        let outcome = outcome.unwrap();
        assert_eq!(outcome.state, QueryState::Finished);
        assert_eq!(rows_in(&outcome), 0);
        let catalog = next.catalog.snapshot().await.unwrap();
        assert!(catalog.relation("public", "t").is_none());
        assert!(!path.exists(), "no table has it");
        for scheduler in [former, next] {
            scheduler.stop.cancel();
        }
    }
}
