//! What clients ask, answered: the front end's trait over the driver, the planner and the catalog.

use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use paceline_frontend::{
    Afresh, ClusterStatus, Description, QueryFilter, QueryPage, QueryService, Readiness,
    ResultStream, Statement, StoredResult, Submission, Submitted, Ticket,
};
use paceline_model::{ErrorClass, QueryError, QueryId, QueryStatus};
use paceline_plan::Planned;
use paceline_proto::cluster;
use paceline_proto::cluster::forward_request::Operation;
use paceline_proto::cluster::forward_response::Answer;
use uuid::Uuid;

use crate::cancelling::cancel_here;
use crate::elsewhere;
use crate::finding::{self, Found};
use crate::handover;
use crate::keyed::Durable;
use crate::listing;
use crate::peers::{self, unknown};
use crate::record::QueryRecord;
use crate::results::{self, Reading};
use crate::settings::{parameters, session};
use crate::shared::Shared;

/// The scheduler as its front ends see it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
}

impl Service {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Service { shared }
    }

    /// Accepts a statement; under `durable`, if that is what its client wants of it.
    pub(crate) async fn accept(
        &self,
        request: &Statement,
        durable: Option<Durable>,
    ) -> Result<Submitted, QueryError> {
        let accepted = Instant::now();
        // What runs by itself was passed on with all that its client wants of it, or came just before.
        let by_itself = durable.as_ref().is_some_and(|it| it.kept.is_some());
        let entering = self.shared.entrance.enter();
        if entering.is_none() && !by_itself {
            return handover::pass_on(&self.shared, request).await;
        }
        let session = session(&request.session)?;
        let catalog = self.shared.catalog().await?;
        let made = self
            .made_before(request, durable.as_ref(), accepted)
            .await?;
        if let Some(answer) = made {
            return Ok(answer);
        }
        let parameters = parameters(request.parameters.as_ref())?;
        let slots = self.shared.driver.slots();
        let planned = self
            .shared
            .planner
            .plan(
                &request.sql,
                parameters,
                &session.planning,
                &catalog,
                &slots,
            )
            .await?;
        let query = durable
            .as_ref()
            .map_or_else(|| QueryId(Uuid::now_v7()), |durable| durable.query);
        self.shared.driver.metrics.planned(accepted.elapsed());
        let ticket = |afresh| Ticket {
            query,
            accepted_by: self.shared.driver.me(),
            catalog: catalog.version(),
            afresh,
            made: false,
        };
        let afresh = Afresh {
            sql: request.sql.clone(),
            session: request.session.clone(),
            parameters: request.parameters.clone(),
        };
        let record = |schema: &SchemaRef, plan| {
            let sql = request.sql.clone();
            QueryRecord::new(
                query,
                sql,
                Arc::clone(schema),
                plan,
                accepted,
                Instant::now(),
            )
        };
        let driver = &self.shared.driver;
        match planned {
            Planned::Query(plan) => {
                let schema = Arc::clone(&plan.schema);
                let asked = durable.as_ref().and_then(|durable| durable.timeout);
                let limit = asked.or(session.timeout).or(self.shared.query_timeout);
                let left = limit.map(|limit| limit.saturating_sub(accepted.elapsed()));
                let deadline = left.map(|left| driver.now_after(left));
                let mut record = record(&schema, Some(plan)).limited(limit);
                record.catalog = catalog.version();
                let ticket = ticket(Some(afresh));
                record.ticket = Some(ticket.clone());
                let elsewhere = match durable {
                    None => {
                        driver.submit(record, deadline);
                        None
                    }
                    Some(durable) => self.accept_durably(record, durable, deadline).await?,
                };
                Ok(elsewhere.unwrap_or_else(|| submitted(query, schema, ticket, None)))
            }
            Planned::Write { plan, into } => {
                let write = (plan, into);
                self.accept_write(request, &session, write, ticket(None), durable, accepted)
                    .await
            }
            Planned::Rows { schema, batches } => {
                let mut answered = record(&schema, None).answered(batches, Instant::now());
                let ticket = ticket(Some(afresh));
                answered.ticket = Some(ticket.clone());
                let mut turn = None;
                if let Some(durable) = durable {
                    answered.kept = durable.kept;
                    answered.name(durable.named);
                    turn = durable.turn;
                }
                driver.submit(answered, None);
                drop(turn);
                Ok(submitted(query, schema, ticket, None))
            }
            Planned::Change(change) => {
                let since = catalog.version();
                self.change(query, change, request, durable, accepted, since)
                    .await
            }
        }
    }

    /// Gives out a result, from wherever its query is driven by then.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn find<'a>(
        &'a self,
        ticket: &'a Ticket,
    ) -> BoxFuture<'a, Result<ResultStream, QueryError>> {
        let find = async move {
            let shared = &self.shared;
            if ticket.made && !shared.driver.drives(ticket.query) {
                return Ok(ResultStream::of_batches(Arc::new(Schema::empty()), vec![]));
            }
            let ask = elsewhere::question();
            let first = Some(&ticket.accepted_by);
            loop {
                let found = match finding::ask(shared, ticket.query, first, &ask).await {
                    // Nobody drives a write any more that has its outcome.
                    Ok(Found::Lost(_)) if ticket.afresh.is_none() => {
                        return self.past_answer(ticket.query).await;
                    }
                    Err(error) if error.class == ErrorClass::NotFound => {
                        return self.past_answer(ticket.query).await;
                    }
                    found => found?,
                };
                match found {
                    Found::Here => {
                        if let Some(reading) = Reading::begin(&shared.driver, ticket.query) {
                            return Ok(ResultStream {
                                schema: Arc::clone(&reading.schema),
                                batches: results::rows(self.clone(), reading, ticket.clone()),
                            });
                        }
                    }
                    Found::Answer(Answer::Result(at)) => {
                        if let Some(result) = elsewhere::open(shared, ticket.query, at).await? {
                            return Ok(result);
                        }
                    }
                    Found::Answer(_) => return Err(unknown(ticket.query)),
                    Found::Lost(epoch) => {
                        // What has its outcome is not run again, though no journal holds it.
                        if self.outcome(ticket.query).await?.is_some() {
                            return self.past_answer(ticket.query).await;
                        }
                        self.run_afresh(ticket, epoch).await?;
                    }
                }
            }
        };
        find.boxed()
    }
}

pub(crate) fn submitted(
    query: QueryId,
    schema: SchemaRef,
    ticket: Ticket,
    rows_affected: Option<i64>,
) -> Submitted {
    Submitted {
        query,
        schema,
        ticket,
        rows_affected,
    }
}

#[async_trait]
impl QueryService for Service {
    async fn submit(&self, request: Statement) -> Result<Submitted, QueryError> {
        match request.idempotency_key.clone() {
            Some(key) => self.once(&key, &request).await,
            None => self.accept(&request, None).await,
        }
    }

    async fn describe(&self, request: Statement) -> Result<Description, QueryError> {
        let session = session(&request.session)?;
        let catalog = self.shared.catalog().await?;
        let planner = &self.shared.planner;
        let (schema, parameters) = planner
            .describe(&request.sql, &session.planning, &catalog)
            .await?;
        let fields = parameters
            .into_iter()
            .map(|(name, data_type)| Field::new(name, data_type.unwrap_or(DataType::Null), true));
        Ok(Description {
            schema,
            parameters: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        })
    }

    async fn results(&self, ticket: &Ticket) -> Result<ResultStream, QueryError> {
        if let Some(reading) = Reading::begin(&self.shared.driver, ticket.query) {
            return Ok(ResultStream {
                schema: Arc::clone(&reading.schema),
                batches: results::rows(self.clone(), reading, ticket.clone()),
            });
        }
        self.find(ticket).await
    }

    async fn cancel(&self, query: QueryId) -> Result<(), QueryError> {
        let cancel = Operation::Cancel(cluster::Empty {});
        loop {
            if cancel_here(&self.shared, query).await? {
                return Ok(());
            }
            match finding::ask(&self.shared, query, None, &cancel).await {
                Ok(Found::Here) => {}
                Ok(Found::Answer(_)) => return Ok(()),
                // It may have ended: then it stays as it ended.
                Ok(Found::Lost(_)) => return self.past_status(query).await.map(drop),
                Err(error) if error.class == ErrorClass::NotFound => {
                    return self.past_status(query).await.map(drop);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn status(&self, query: QueryId) -> Result<QueryStatus, QueryError> {
        let ask = Operation::Status(cluster::Empty {});
        loop {
            if let Some(status) = self.shared.driver.status(&query) {
                return Ok(status);
            }
            match finding::ask(&self.shared, query, None, &ask).await {
                Ok(Found::Here) => {}
                Ok(Found::Answer(Answer::Status(json))) => {
                    return peers::status(&json);
                }
                Ok(Found::Answer(_) | Found::Lost(_)) => return self.past_status(query).await,
                Err(error) if error.class == ErrorClass::NotFound => {
                    return self.past_status(query).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn enqueue(&self, request: Submission) -> Result<QueryStatus, QueryError> {
        self.accept_submission(request).await
    }

    async fn stored_result(&self, query: QueryId) -> Result<StoredResult, QueryError> {
        self.kept_result(query).await
    }

    async fn list(&self, filter: QueryFilter) -> Result<QueryPage, QueryError> {
        listing::list(&self.shared, &filter).await
    }

    fn cluster(&self) -> ClusterStatus {
        let driver = &self.shared.driver;
        let (running, queued) = driver.running_and_queued();
        ClusterStatus {
            scheduler: driver.me(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            uptime: driver.uptime(),
            catalog: self.shared.catalog.version(),
            queries_running: running as u64,
            queries_queued: queued as u64,
            schedulers: self.shared.membership.status(),
            executors: driver.executors(),
        }
    }

    fn readiness(&self) -> Readiness {
        let reasons = self.shared.not_ready();
        if reasons.is_empty() {
            Readiness::Ready
        } else {
            Readiness::NotReady(reasons)
        }
    }

    fn locations(&self) -> Vec<String> {
        let live = self.shared.membership.live();
        live.into_iter()
            .map(|beacon| format!("grpc+tcp://{}", beacon.addresses.flight))
            .collect()
    }
}
