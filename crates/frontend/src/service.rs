//! What the front end asks of the engine behind it. The scheduler implements it.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::stream::BoxStream;
use paceline_model::{QueryError, QueryId, QueryStatus};

use crate::cluster::{ClusterStatus, Readiness};
use crate::listing::{QueryFilter, QueryPage};
use crate::session::SessionSettings;
use crate::stored::StoredResult;
use crate::submission::Submission;
use crate::ticket::Ticket;

/// The engine, as both protocols see it. Every scheduler answers for every query: what it does not
/// own it forwards.
///
/// All methods may be called at the same time, and any returned future or stream may be dropped at
/// any moment: a client that went away. Dropping never leaves a lock held or an answer half given;
/// whether the query goes on is the engine's decision (see [`submit`](Self::submit) and
/// [`ResultStream`]).
#[async_trait]
pub trait QueryService: Send + Sync + 'static {
    /// Plans the statement and starts it. Returns as soon as its schema is known, which is before
    /// the result exists.
    ///
    /// A synchronous read that nobody ever asks [`results`](Self::results) of must not run on for
    /// ever: the engine ends it after a while of its own choosing. Statements that change
    /// the catalog are done, or refused, once this returns. Those that write are durable then: they go
    /// on whoever goes away, and [`results`](Self::results) waits for what comes of them.
    ///
    /// A repeated `idempotency_key` with the same request returns the query that the first one started.
    ///
    /// # Errors
    /// What is wrong with the statement, or why it cannot be taken now;
    /// [`Conflict`](paceline_model::ErrorClass::Conflict) if the key stands for another request.
    async fn submit(&self, request: Statement) -> Result<Submitted, QueryError>;

    /// Plans the statement and does nothing else: for prepared statements and `GetSchema`.
    ///
    /// # Errors
    /// What is wrong with the statement.
    async fn describe(&self, request: Statement) -> Result<Description, QueryError>;

    /// The result from its first row on; any number of times while it is kept. Waits for as long
    /// as the query runs.
    ///
    /// # Errors
    /// Why the query failed, if that is known before the first batch; else the stream's last item
    /// says it.
    async fn results(&self, ticket: &Ticket) -> Result<ResultStream, QueryError>;

    /// Stops the query. Stopping one that has ended already is not an error: it stays as it ended.
    ///
    /// Returns once it stays ended whoever dies, if its client was promised that it does not get lost: it
    /// was [enqueued](Self::enqueue), or it writes. [`status`](Self::status) tells how it ended then.
    ///
    /// # Errors
    /// [`NotFound`](paceline_model::ErrorClass::NotFound) if nobody knows the query.
    async fn cancel(&self, query: QueryId) -> Result<(), QueryError>;

    /// How far the query has come.
    ///
    /// # Errors
    /// [`NotFound`](paceline_model::ErrorClass::NotFound) if nobody knows the query.
    async fn status(&self, query: QueryId) -> Result<QueryStatus, QueryError>;

    /// Accepts a query that runs by itself, whoever goes away, and whose result is kept. Returns once
    /// that is durable, which may be before anything of it ran.
    ///
    /// A repeated `idempotency_key` with the same request, times included, returns the query that the
    /// first one began, whichever scheduler was asked.
    ///
    /// # Errors
    /// What is wrong with the statement, or why it cannot be taken now;
    /// [`Conflict`](paceline_model::ErrorClass::Conflict) if the key stands for another request.
    async fn enqueue(&self, request: Submission) -> Result<QueryStatus, QueryError>;

    /// The kept result of a query that was [enqueued](Self::enqueue) and has finished.
    ///
    /// # Errors
    /// The query's own error, if it failed;
    /// [`Conflict`](paceline_model::ErrorClass::Conflict) if it has not ended yet;
    /// [`NotFound`](paceline_model::ErrorClass::NotFound) if nobody knows it, its result is not kept
    /// any more, or never was.
    async fn stored_result(&self, query: QueryId) -> Result<StoredResult, QueryError>;

    /// Queries of all schedulers that wait, run or have ended lately, and those that have an outcome whoever
    /// drove them; the latest first.
    ///
    /// # Errors
    /// Why no list can be given. Schedulers that do not answer are no reason, and neither is a state store
    /// that does not: the page says so.
    async fn list(&self, filter: QueryFilter) -> Result<QueryPage, QueryError>;

    /// The cluster as this scheduler sees it.
    fn cluster(&self) -> ClusterStatus;

    /// Whether new queries should be sent here.
    fn readiness(&self) -> Readiness;

    /// The public Flight address of every live scheduler, as `grpc+tcp://host:port`, this one
    /// first.
    fn locations(&self) -> Vec<String>;
}

/// The door a statement came through; a label of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A statement over Flight SQL.
    FlightSql,
    /// A statement over HTTP.
    Http,
    /// A question about catalogs, schemas or tables, which the front end itself put into SQL.
    Metadata,
}

impl Origin {
    /// The origin as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::FlightSql => "flight_sql",
            Origin::Http => "http",
            Origin::Metadata => "metadata",
        }
    }
}

/// One statement to run, with everything that its meaning depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The text.
    pub sql: String,
    /// What the client has set.
    pub session: SessionSettings,
    /// The values of its placeholders: exactly one row; column *i*, counted from 1, is
    /// bound to `$i`.
    pub parameters: Option<RecordBatch>,
    /// Two statements with the same key are one query.
    pub idempotency_key: Option<String>,
    /// The door it came through.
    pub origin: Origin,
}

impl Statement {
    /// A statement without parameters or key.
    pub fn new(sql: impl Into<String>, session: SessionSettings, origin: Origin) -> Self {
        Statement {
            sql: sql.into(),
            session,
            parameters: None,
            idempotency_key: None,
            origin,
        }
    }
}

/// A query that was started.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// Its name from now on.
    pub query: QueryId,
    /// The columns of its result.
    pub schema: SchemaRef,
    /// What any scheduler needs to answer for it.
    pub ticket: Ticket,
    /// How many rows it changed, for statements that change something and know. A statement whose
    /// result is rows has none.
    pub rows_affected: Option<i64>,
}

/// What a statement would need and return.
#[derive(Debug, Clone)]
pub struct Description {
    /// The columns of its result; none for statements that return nothing.
    pub schema: SchemaRef,
    /// Its placeholders in order, named `$1`, `$2` …; type `Null` where nothing fixes one.
    pub parameters: SchemaRef,
}

/// A result on its way out.
///
/// Dropping it before its end tells the engine that this reader is gone. A query that no one reads
/// and no one else asked for may then be stopped.
pub struct ResultStream {
    /// The columns. Every batch has exactly these.
    pub schema: SchemaRef,
    /// The rows. Nothing follows an error.
    pub batches: BoxStream<'static, Result<RecordBatch, QueryError>>,
}

impl ResultStream {
    /// A result that is all there.
    pub fn of_batches(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let batches = futures::stream::iter(batches.into_iter().map(Ok));
        ResultStream {
            schema,
            batches: Box::pin(batches),
        }
    }
}

impl std::fmt::Debug for ResultStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResultStream")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}
