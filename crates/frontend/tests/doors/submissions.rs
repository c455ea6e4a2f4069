//! The submitted queries of the engine. They stay as they are until a test says how they go on.

use std::collections::BTreeMap;
use std::sync::Mutex;

use paceline_frontend::{Statement, Submission};
use paceline_model::{
    ErrorClass, QueryError, QueryId, QueryState, QueryStatus, ResultSize, SchedulerId,
};
use uuid::Uuid;

use crate::engine::{error, status};

#[derive(Default)]
pub(crate) struct Submissions {
    queries: Mutex<BTreeMap<QueryId, Submitted>>,
    unreachable: Mutex<Vec<SchedulerId>>,
}

struct Submitted {
    request: Submission,
    status: QueryStatus,
    /// Whether its result is still there.
    kept: bool,
}

impl Submissions {
    pub(crate) fn enqueue(&self, request: Submission) -> Result<QueryStatus, QueryError> {
        let mut queries = self.queries.lock().unwrap();
        let key = request.statement.idempotency_key.as_ref();
        let known = queries
            .values()
            .find(|known| key.is_some() && known.request.statement.idempotency_key.as_ref() == key);
        if let Some(known) = known {
            return match known.request == request {
                true => Ok(known.status.clone()),
                false => Err(error("conflict")),
            };
        }
        let query = QueryId(Uuid::now_v7());
        let status = QueryStatus {
            submitted: true,
            ..status(query, &request.statement, QueryState::Queued)
        };
        let submitted = Submitted {
            request,
            status: status.clone(),
            kept: true,
        };
        queries.insert(query, submitted);
        Ok(status)
    }

    /// What was asked for, to the letter.
    pub(crate) fn request(&self, query: QueryId) -> Submission {
        let queries = self.queries.lock().unwrap();
        queries[&query].request.clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.queries.lock().unwrap().len()
    }

    pub(crate) fn status(&self, query: QueryId) -> Option<QueryStatus> {
        let queries = self.queries.lock().unwrap();
        queries.get(&query).map(|it| it.status.clone())
    }

    pub(crate) fn statuses(&self) -> Vec<QueryStatus> {
        let queries = self.queries.lock().unwrap();
        queries.values().map(|it| it.status.clone()).collect()
    }

    /// Changes how a query stands.
    pub(crate) fn change(&self, query: QueryId, change: impl FnOnce(&mut QueryStatus)) {
        let mut queries = self.queries.lock().unwrap();
        change(&mut queries.get_mut(&query).unwrap().status);
    }

    pub(crate) fn finish(&self, query: QueryId) {
        self.change(query, |status| {
            status.state = QueryState::Finished;
            status.result = Some(ResultSize { rows: 7, pages: 2 });
        });
    }

    pub(crate) fn fail(&self, query: QueryId, error: QueryError) {
        self.change(query, |status| {
            status.state = QueryState::Failed;
            status.error = Some(error);
        });
    }

    pub(crate) fn cancel(&self, query: QueryId) -> bool {
        let known = self.status(query).is_some();
        if known {
            self.change(query, |status| {
                status.state = QueryState::Cancelled;
                status.error = Some(error("cancelled"));
            });
        }
        known
    }

    /// Its result's time is over.
    pub(crate) fn expire(&self, query: QueryId) {
        self.queries.lock().unwrap().get_mut(&query).unwrap().kept = false;
    }

    /// One of the schedulers does not answer.
    pub(crate) fn lose(&self, scheduler: &str) {
        let lost = SchedulerId::new(scheduler);
        self.unreachable.lock().unwrap().push(lost);
    }

    pub(crate) fn unreachable(&self) -> Vec<SchedulerId> {
        self.unreachable.lock().unwrap().clone()
    }

    /// The statement of a query whose result is there, or why it is not.
    pub(crate) fn finished(&self, query: QueryId) -> Result<Statement, QueryError> {
        let queries = self.queries.lock().unwrap();
        let it = queries.get(&query).ok_or_else(|| error("not_found"))?;
        match (it.status.state, &it.status.error) {
            (QueryState::Finished, _) if it.kept => Ok(it.request.statement.clone()),
            (QueryState::Finished, _) => Err(QueryError::new(
                ErrorClass::NotFound,
                "its time is over, as asked",
            )),
            (_, Some(error)) => Err(error.clone()),
            (_, None) => Err(error("conflict")),
        }
    }
}
