//! Queries that run by themselves: accepted once they are durable, and told of for as long as their
//! outcome is kept.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream};
use paceline_frontend::{QueryService, StoredResult, Submission};
use paceline_model::{ErrorClass, QueryError, QueryId, QueryStatus};
use paceline_store::{Ending, ResultError, ResultManifest, ResultReader, StoreError};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::conclusion::{conclude, conclude_in_time};
use crate::finding::leaving;
use crate::handover::pass_on_submission;
use crate::keyed::{Durable, gone, named};
use crate::peers::unknown;
use crate::requested::{Named, Requested};
use crate::results::from_ipc;
use crate::service::Service;
use crate::written::unix_millis;

/// What an outcome carries of the query's last status.
pub(crate) const STATUS: &str = "status";

impl Service {
    /// Accepts a query that runs by itself, unless it was accepted before.
    ///
    /// # Errors
    /// What is wrong with it, or that it is not known to be durable.
    pub(crate) async fn accept_submission(
        &self,
        request: Submission,
    ) -> Result<QueryStatus, QueryError> {
        let shared = &self.shared;
        let statement = &request.statement;
        let name = match &statement.idempotency_key {
            Some(key) => Some(Named {
                key: key.clone(),
                requested: Requested::submission(&request)?,
            }),
            None => None,
        };
        let query = name
            .as_ref()
            .map_or_else(|| QueryId(Uuid::now_v7()), |name| named(&name.key));
        let turn = shared.turns.begin(query).await;
        if let Some(name) = &name {
            self.is_settled(query, &name.requested)?;
            if self.was_accepted(query, &name.requested).await? {
                return self.status(query).await;
            }
            if shared.driver.has_ended(query) {
                return Err(gone());
            }
        }
        let kept = request.result_ttl.unwrap_or(shared.submitted_ttl);
        let Some(_entering) = shared.entrance.enter() else {
            return pass_on_submission(shared, &request, kept).await;
        };
        let durable = Durable {
            query,
            named: name,
            timeout: request.timeout,
            kept: Some(kept),
            turn: Some(turn),
        };
        self.accept(statement, Some(durable)).await?;
        let answered = shared.driver.with_record(&query, |r| r.plan.is_none());
        if answered == Some(true) {
            // It is over already, and in no journal: it is kept before its client is told.
            self.conclude_answered(query).await?;
        }
        self.status(query).await
    }

    /// Keeps what a statement answered that ran on no executor. It is seen through, also if the client goes
    /// away or the store is away for longer than the client waits: nobody else has it.
    ///
    /// # Errors
    /// If it is not known to be kept yet.
    async fn conclude_answered(&self, query: QueryId) -> Result<(), QueryError> {
        let (tell, told) = oneshot::channel();
        let service = self.clone();
        self.shared.spawn_until_stopped(async move {
            let concluded = conclude(&service, query).await;
            let again = concluded.is_err();
            // Who asked may be gone.
            let _ = tell.send(concluded);
            if again {
                conclude_in_time(Arc::clone(&service.shared), query).await;
            }
        });
        told.await.unwrap_or_else(|_| Err(leaving()))
    }

    /// Whether just this was handed in under its client's name for it.
    ///
    /// # Errors
    /// If the name was given to another request.
    async fn was_accepted(
        &self,
        query: QueryId,
        requested: &Requested,
    ) -> Result<bool, QueryError> {
        let driver = &self.shared.driver;
        // Of one that is over here its outcome tells all that there is.
        let over_here = driver.has_ended(query) && !driver.drives(query);
        if !over_here && let Some(attached) = self.attach(query, None).await? {
            return attached.requested.agree(requested).map(|()| true);
        }
        Ok(self.ended(query, requested).await?.is_some())
    }

    /// The status of a query that nobody drives any more.
    pub(crate) async fn past_status(&self, query: QueryId) -> Result<QueryStatus, QueryError> {
        let ending = self.outcome(query).await?.ok_or_else(|| unknown(query))?;
        status_of(query, &ending)
    }

    /// What became of a query that is over.
    pub(crate) async fn outcome(&self, query: QueryId) -> Result<Option<Ending>, QueryError> {
        let claims = &self.shared.journaling.claims;
        claims.outcome(query).await.map_err(|e| away(&e))
    }

    /// The kept result of a query.
    ///
    /// # Errors
    /// Why there is none, or none yet.
    pub(crate) async fn kept_result(&self, query: QueryId) -> Result<StoredResult, QueryError> {
        let Some(ending) = self.outcome(query).await? else {
            let status = self.status(query).await?;
            if !status.submitted {
                return Err(not_kept(query));
            }
            let message = format!(
                "query {query} has not ended yet: it is {}",
                status.state.as_str()
            );
            return Err(QueryError::new(ErrorClass::Conflict, message));
        };
        if let Some(error) = ending.error {
            return Err(error);
        }
        // A write has an outcome also if somebody waits for it.
        let manifest = ResultManifest::from_json(&ending.result).ok_or_else(|| not_kept(query))?;
        let results = &self.shared.journaling.results;
        let reader = match manifest.expires_at_unix_ms > unix_millis() {
            true => results.open(query, manifest.epoch).await,
            false => Ok(None),
        };
        let reader = reader.map_err(|e| away(&e))?;
        let reader = reader.ok_or_else(|| {
            let message =
                format!("the result of query {query} is not kept any more: its time is over");
            QueryError::new(ErrorClass::NotFound, message)
        })?;
        stored(reader)
    }
}

fn not_kept(query: QueryId) -> QueryError {
    let message = format!(
        "the result of query {query} is for whoever waits for it, and is not kept: submit statements to \
         POST /v1/queries to have their results kept"
    );
    QueryError::new(ErrorClass::NotFound, message)
}

/// The last status of a query, as its outcome has it.
///
/// # Errors
/// If that says nothing of it.
pub(crate) fn status_of(query: QueryId, ending: &Ending) -> Result<QueryStatus, QueryError> {
    let status = ending.result.get(STATUS).cloned().unwrap_or_default();
    serde_json::from_value(status).map_err(|e| {
        let message = format!("the outcome of query {query} cannot be read: {e}");
        QueryError::new(ErrorClass::Bug, message)
    })
}

fn stored(reader: ResultReader) -> Result<StoredResult, QueryError> {
    let index = reader.index();
    let schema =
        paceline_plan::schema_from_ipc(&index.schema).map_err(|e| paceline_plan::classify(&e))?;
    let (pages, rows) = (index.parts.len() as u64, index.rows);
    let reader = Arc::new(reader);
    Ok(StoredResult::new(schema, pages, rows, move |range| {
        let to = |page: u64| usize::try_from(page).unwrap_or(usize::MAX);
        let parts = ResultReader::clone(&reader).parts(to(range.start)..to(range.end));
        parts
            .map_err(|e: ResultError| QueryError::new(e.class(), e.to_string()))
            .and_then(|bytes| async move {
                let batches: Vec<RecordBatch> = from_ipc(&bytes)?;
                Ok(stream::iter(batches).map(Ok))
            })
            .try_flatten()
            .boxed()
    }))
}

pub(crate) fn away(error: &StoreError) -> QueryError {
    QueryError::new(error.class(), error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use paceline_frontend::{Origin, SessionSettings, Statement};
    use paceline_model::{Epoch, QueryState};

    use super::*;
    use crate::testing::shared;

    /// Within which an outcome is there.
    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_a_write_answered_to_somebody_was_never_kept() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let query = QueryId(Uuid::now_v7());
        let ending = Ending {
            state: QueryState::Finished,
            by: shared.driver.me(),
            epoch: Epoch(0),
            error: None,
            result: serde_json::json!({ "rows_written": 1 }),
        };
        let claims = &shared.journaling.claims;
        claims.finish(query, &ending).await.unwrap();
        let told = Service::new(Arc::clone(&shared)).kept_result(query).await;
        let told = told.map(drop).unwrap_err();
        assert_eq!(told.class, ErrorClass::NotFound);
        assert!(told.message.contains("POST /v1/queries"), "{told}");
        shared.stop.cancel();
    }

    /// Or it would run for ever, to whoever asks.
    #[tokio::test]
    async fn what_was_answered_is_kept_though_its_client_has_gone_away() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let service = Service::new(Arc::clone(&shared));
        let session = SessionSettings::default();
        let statement = Statement::new("EXPLAIN SELECT 1", session, Origin::Http);
        let accepted = async {
            while shared.driver.statuses().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        // Cancel safety: the client goes away, which is what is looked at.
        tokio::select! {
            biased;
            told = service.accept_submission(Submission::new(statement)) => {
                panic!("it is kept before its client is told: {told:?}")
            }
            () = accepted => {}
        }
        let query = shared.driver.statuses()[0].query;
        let ended = async {
            loop {
                if let Some(ending) = service.outcome(query).await.unwrap() {
                    return ending;
                }
            }
        };
        let ending = tokio::time::timeout(LIMIT, ended).await.unwrap();
        assert_eq!(ending.state, QueryState::Finished);
        shared.stop.cancel();
    }
}
