//! An engine that answers a handful of made-up statements from memory. It keeps nothing but what it
//! was asked, so that a ticket or handle from one engine is good at another one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, UInt64Array};
use arrow::array::{BooleanArray, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use paceline_frontend::{
    Afresh, ClusterStatus, Description, QueryFilter, QueryPage, QueryService, Readiness,
    ResultStream, SchedulerStatus, Statement, StoredResult, Submission, Submitted, Ticket,
};
use paceline_model::{
    CatalogVersion, Epoch, ErrorClass, QueryError, QueryId, QueryState, QueryStatus, SchedulerId,
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::submissions::Submissions;

pub(crate) const LOCATION: &str = "grpc+tcp://10.0.0.7:50051";

/// How many rows each of the two batches has that come before a result breaks.
pub(crate) const BROKEN_ROWS: i64 = 5000;

/// The engine, and what a test wants to know of it.
pub(crate) struct Engine {
    queries: Mutex<BTreeMap<QueryId, (Statement, QueryState)>>,
    keys: Mutex<BTreeMap<String, QueryId>>,
    pub(crate) submissions: Submissions,
    readers: watch::Sender<usize>,
    pub(crate) readiness: Mutex<Readiness>,
}

impl Engine {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Engine {
            queries: Mutex::default(),
            keys: Mutex::default(),
            submissions: Submissions::default(),
            readers: watch::Sender::new(0),
            readiness: Mutex::new(Readiness::Ready),
        })
    }

    /// Waits until so many results are being read.
    pub(crate) async fn wait_for_readers(&self, count: usize) {
        let mut readers = self.readers.subscribe();
        let waiting = readers.wait_for(|&now| now == count);
        let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        waited.expect("the number of readers never came").unwrap();
    }

    pub(crate) fn state(&self, query: QueryId) -> Option<QueryState> {
        let queries = self.queries.lock().unwrap();
        queries.get(&query).map(|(_, state)| *state)
    }

    fn accept(&self, statement: &Statement) -> QueryId {
        let mut keys = self.keys.lock().unwrap();
        if let Some(known) = statement.idempotency_key.as_ref().and_then(|k| keys.get(k)) {
            return *known;
        }
        let query = QueryId(Uuid::now_v7());
        if let Some(key) = statement.idempotency_key.clone() {
            keys.insert(key, query);
        }
        let entry = (statement.clone(), QueryState::Running);
        self.queries.lock().unwrap().insert(query, entry);
        query
    }

    fn reader(&self) -> Reader {
        self.readers.send_modify(|count| *count += 1);
        Reader(self.readers.clone())
    }
}

struct Reader(watch::Sender<usize>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[async_trait]
impl QueryService for Engine {
    async fn submit(&self, request: Statement) -> Result<Submitted, QueryError> {
        let schema = schema_of(&request)?;
        if let Some(class) = request.sql.strip_prefix("refuse ") {
            return Err(error(class));
        }
        let query = self.accept(&request);
        let rows_affected = (request.sql == "create").then_some(0);
        let repeatable = request.sql != "insert";
        let afresh = repeatable.then_some(Afresh {
            sql: request.sql,
            session: request.session,
            parameters: request.parameters,
        });
        let ticket = Ticket {
            query,
            accepted_by: SchedulerId::new("test"),
            catalog: CatalogVersion(1),
            afresh,
            made: false,
        };
        Ok(Submitted {
            query,
            schema,
            ticket,
            rows_affected,
        })
    }

    async fn describe(&self, request: Statement) -> Result<Description, QueryError> {
        let parameter = Field::new("$1", DataType::Int64, true);
        Ok(Description {
            schema: schema_of(&request)?,
            parameters: match request.sql.as_str() {
                "parameters" => Arc::new(Schema::new(vec![parameter])),
                _ => Arc::new(Schema::empty()),
            },
        })
    }

    async fn results(&self, ticket: &Ticket) -> Result<ResultStream, QueryError> {
        let statement = match ticket.afresh.clone() {
            Some(afresh) => Statement {
                parameters: afresh.parameters,
                ..Statement::new(
                    afresh.sql,
                    afresh.session,
                    paceline_frontend::Origin::FlightSql,
                )
            },
            // A write is known where it was accepted.
            None => self.queries.lock().unwrap()[&ticket.query].0.clone(),
        };
        let schema = schema_of(&statement)?;
        let reader = self.reader();
        let sql = statement.sql.as_str();
        if let Some(class) = sql.strip_prefix("fail ") {
            return Err(error(class));
        }
        if sql == "hang" {
            std::future::pending::<()>().await;
        }
        let batches = match sql.strip_prefix("break ") {
            None if sql.starts_with("trip ") => {
                let broken = Err(error(sql.trim_start_matches("trip ")));
                stream::iter([Ok(numbers(0, 3)), broken]).boxed()
            }
            Some(class) => {
                let rows = numbers(0, BROKEN_ROWS);
                stream::iter([Ok(rows.clone()), Ok(rows), Err(error(class))]).boxed()
            }
            None if sql == "endless" => stream::repeat_with(|| Ok(numbers(0, 1000))).boxed(),
            None => stream::iter(answer(&statement).into_iter().map(Ok)).boxed(),
        };
        let batches = batches
            .map(move |batch| {
                let _held_while_read = &reader;
                batch
            })
            .boxed();
        Ok(ResultStream { schema, batches })
    }

    async fn enqueue(&self, request: Submission) -> Result<QueryStatus, QueryError> {
        schema_of(&request.statement)?;
        if let Some(class) = request.statement.sql.strip_prefix("refuse ") {
            return Err(error(class));
        }
        self.submissions.enqueue(request)
    }

    async fn stored_result(&self, query: QueryId) -> Result<StoredResult, QueryError> {
        let statement = self.submissions.finished(query)?;
        let pages = match statement.sql.strip_prefix("break ") {
            Some(class) => vec![Ok(numbers(0, BROKEN_ROWS)), Err(error(class))],
            None => answer(&statement).into_iter().map(Ok).collect(),
        };
        let rows: usize = pages.iter().flatten().map(RecordBatch::num_rows).sum();
        let count = pages.len() as u64;
        let reader = Arc::new(self.reader());
        Ok(StoredResult::new(
            schema_of(&statement)?,
            count,
            rows as u64,
            move |range| {
                let reader = Arc::clone(&reader);
                let range = range.start as usize..range.end as usize;
                let wanted = pages[range].to_vec();
                let pages = stream::iter(wanted).map(move |page| {
                    let _held_while_read = &reader;
                    page
                });
                pages.boxed()
            },
        ))
    }

    async fn cancel(&self, query: QueryId) -> Result<(), QueryError> {
        if self.submissions.cancel(query) {
            return Ok(());
        }
        let mut queries = self.queries.lock().unwrap();
        let (_, state) = queries.get_mut(&query).ok_or_else(|| error("not_found"))?;
        *state = QueryState::Cancelled;
        Ok(())
    }

    async fn status(&self, query: QueryId) -> Result<QueryStatus, QueryError> {
        if let Some(status) = self.submissions.status(query) {
            return Ok(status);
        }
        let queries = self.queries.lock().unwrap();
        let (statement, state) = queries.get(&query).ok_or_else(|| error("not_found"))?;
        Ok(status(query, statement, *state))
    }

    async fn list(&self, filter: QueryFilter) -> Result<QueryPage, QueryError> {
        let queries = self.queries.lock().unwrap();
        let waited_for = queries
            .iter()
            .map(|(query, (statement, state))| status(*query, statement, *state));
        let all = waited_for.chain(self.submissions.statuses());
        let mut page = QueryPage::of(all, &filter);
        page.unreachable.extend(self.submissions.unreachable());
        Ok(page)
    }

    fn cluster(&self) -> ClusterStatus {
        ClusterStatus {
            scheduler: SchedulerId::new("test"),
            version: "0".to_string(),
            uptime: Duration::from_millis(1500),
            catalog: CatalogVersion(1),
            queries_running: 0,
            queries_queued: 0,
            schedulers: vec![SchedulerStatus {
                id: SchedulerId::new("test"),
                address: "10.0.0.7:50052".to_string(),
                flight: LOCATION.to_string(),
                zone: String::new(),
                version: "0".to_string(),
                live: true,
                reachable: true,
            }],
            executors: Vec::new(),
        }
    }

    fn readiness(&self) -> Readiness {
        self.readiness.lock().unwrap().clone()
    }

    fn locations(&self) -> Vec<String> {
        vec![LOCATION.to_string()]
    }
}

pub(crate) fn status(query: QueryId, statement: &Statement, state: QueryState) -> QueryStatus {
    QueryStatus {
        query,
        owner: SchedulerId::new("test"),
        epoch: Epoch(0),
        state,
        sql: statement.sql.clone(),
        stages: Vec::new(),
        error: None,
        elapsed: Duration::from_millis(250),
        planning: Duration::from_millis(1),
        submitted: false,
        accepted_at_unix_ms: query.unix_ms(),
        result: None,
    }
}

/// The error that a statement asks for: `user`, `resource` and so on.
pub(crate) fn error(class: &str) -> QueryError {
    let class = ErrorClass::parse(class).expect("a class of errors");
    QueryError::new(class, format!("as asked: {class}"))
}

/// `count` rows from `first` on, with texts that do not fit into a view.
pub(crate) fn numbers(first: i64, count: i64) -> RecordBatch {
    let numbers = first..first + count;
    let words = numbers.clone().map(|n| format!("number {n} in words"));
    columns([
        ("n", Arc::new(Int64Array::from_iter_values(numbers)) as _),
        ("w", Arc::new(StringViewArray::from_iter_values(words)) as _),
    ])
}

fn columns<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn texts<const N: usize>(names: [&str; N], rows: &[[&str; N]]) -> RecordBatch {
    let columns = names.iter().enumerate().map(|(index, name)| {
        let values = rows.iter().map(|row| row[index]);
        let column = StringArray::from_iter_values(values);
        (*name, Arc::new(column) as ArrayRef)
    });
    RecordBatch::try_from_iter(columns).unwrap()
}

fn schema_of(statement: &Statement) -> Result<SchemaRef, QueryError> {
    let first = answer(statement).into_iter().next();
    match statement.sql.split(' ').next() {
        Some("SELECT" | "numbers" | "settings" | "parameters" | "insert" | "create") => first
            .map(|batch| batch.schema())
            .ok_or_else(|| error("user")),
        Some("refuse" | "fail" | "break" | "trip" | "hang" | "endless") => {
            Ok(numbers(0, 0).schema())
        }
        _ => Err(error("user")),
    }
}

fn answer(statement: &Statement) -> Vec<RecordBatch> {
    let sql = statement.sql.as_str();
    if let Some(count) = sql.strip_prefix("numbers ") {
        let count: i64 = count.parse().unwrap();
        return vec![numbers(0, count / 2), numbers(count / 2, count - count / 2)];
    }
    let one = |batch| vec![batch];
    match sql {
        "settings" => {
            let settings = statement.session.iter();
            let rows: Vec<_> = settings.map(|(name, value)| [name, value]).collect();
            one(texts(["name", "value"], &rows))
        }
        "parameters" => statement.parameters.clone().map_or_else(
            || one(columns([("0", Arc::new(Int64Array::new_null(1)) as _)])),
            one,
        ),
        "insert" => {
            let counts = Arc::new(UInt64Array::from(vec![42])) as _;
            one(columns([("count", counts)]))
        }
        "create" => one(RecordBatch::new_empty(Arc::new(Schema::empty()))),
        "SELECT * FROM \"lake\".\"tpch\".\"nation\"" => one(columns([
            ("key", Arc::new(Int64Array::from(vec![1])) as _),
            ("big", Arc::new(BooleanArray::from(vec![true])) as _),
        ])),
        _ if sql.contains("DISTINCT catalog_name") => one(texts(["c"], &[["lake"], ["pond"]])),
        _ if sql.contains("information_schema.schemata") => one(texts(
            ["c", "s"],
            &[["lake", "tpch"], ["lake", "other"], ["pond", "tpch"]],
        )),
        // `broken` cannot be described: `SELECT * FROM` it has no answer.
        _ if sql.contains("information_schema.tables") => one(texts(
            ["c", "s", "t", "k"],
            &[
                ["lake", "tpch", "nation", "BASE TABLE"],
                ["lake", "tpch", "broken", "VIEW"],
            ],
        )),
        _ => Vec::new(),
    }
}
