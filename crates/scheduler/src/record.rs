//! What a scheduler remembers of a query for those who ask.

mod result;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use paceline_frontend::Ticket;
use paceline_model::{
    Attempt, CatalogVersion, Epoch, QueryError, QueryId, QueryState, QueryStatus, ResultSize,
    SchedulerId, StageProgress, TaskId,
};
use paceline_plan::{QueryPlan, WriteInto};
use tokio::sync::watch;

use crate::operators::Operators;
use crate::requested::{Named, Requested};
use crate::written::{Legacy, unix_millis};

pub(crate) use result::{Part, ResultState};

/// A query that is known here.
#[derive(Debug)]
pub(crate) struct QueryRecord {
    pub(crate) query: QueryId,
    /// How many owners it had before this one.
    pub(crate) epoch: Epoch,
    pub(crate) sql: String,
    /// The catalog version that it was planned with.
    pub(crate) catalog: CatalogVersion,
    /// What clients hold of it.
    pub(crate) ticket: Option<Ticket>,
    /// How many rows it changed, if it changes something.
    pub(crate) rows_affected: Option<i64>,
    /// Whether its client was promised that it is durable.
    pub(crate) submitted: bool,
    /// Whether it runs by itself, and how long its result is kept then.
    pub(crate) kept: Option<Duration>,
    /// What becomes of the files that it writes, if it writes.
    pub(crate) write: Option<WriteInto>,
    /// How many rows it wrote, once that is decided.
    pub(crate) rows_written: Option<u64>,
    /// Whether its result is stored, or will never be.
    pub(crate) is_concluded: bool,
    /// Whether it needs no owner any more: it is nothing that others would carry on.
    pub(crate) is_over: bool,
    /// Whether another scheduler owns it since.
    has_left: bool,
    /// How much was stored.
    pub(crate) stored: Option<ResultSize>,
    /// The client's own name for it, if it gave one.
    pub(crate) idempotency_key: Option<String>,
    /// What a client has to ask for that gives it that name again.
    pub(crate) requested: Option<Requested>,
    /// When it was accepted, by its first owner's clock.
    pub(crate) accepted_unix_millis: u64,
    pub(crate) schema: SchemaRef,
    /// None for what the scheduler answered itself, and for what nobody can run.
    pub(crate) plan: Option<QueryPlan>,
    pub(crate) accepted: Instant,
    pub(crate) planning: Duration,
    /// How long it may take in all, if there is a limit.
    pub(crate) limit: Option<Duration>,
    pub(crate) ended: Option<Instant>,
    pub(crate) state: QueryState,
    pub(crate) error: Option<QueryError>,
    pub(crate) stages: Vec<StageProgress>,
    pub(crate) operators: Operators,
    /// Until then what happens to it is not worth a segment of the journal.
    pub(crate) linger_until: Instant,
    inline: HashMap<(TaskId, Attempt), Bytes>,
    result: watch::Sender<ResultState>,
    /// The list of files that a write left: what its tasks come to, while the result is what they count.
    manifest: watch::Sender<ResultState>,
    /// Brings no more than the word that it has ended, or has its outcome, or another owner.
    ends: watch::Sender<()>,
    /// How many readers wait for the result or read it.
    pub(crate) readers: usize,
    /// When the last of them left.
    pub(crate) idle_since: Instant,
    /// Whether one of them came to the end.
    pub(crate) consumed: bool,
}

impl QueryRecord {
    pub(crate) fn new(
        query: QueryId,
        sql: String,
        schema: SchemaRef,
        plan: Option<QueryPlan>,
        accepted: Instant,
        now: Instant,
    ) -> Self {
        QueryRecord {
            query,
            epoch: Epoch::default(),
            sql,
            catalog: CatalogVersion::default(),
            ticket: None,
            rows_affected: None,
            submitted: false,
            kept: None,
            write: None,
            rows_written: None,
            is_concluded: false,
            is_over: false,
            has_left: false,
            stored: None,
            idempotency_key: None,
            requested: None,
            accepted_unix_millis: unix_millis(),
            schema,
            plan,
            accepted,
            planning: now.saturating_duration_since(accepted),
            limit: None,
            ended: None,
            state: QueryState::Running,
            error: None,
            stages: Vec::new(),
            operators: Operators::default(),
            linger_until: now,
            inline: HashMap::new(),
            result: watch::Sender::new(ResultState::Pending),
            manifest: watch::Sender::new(ResultState::Pending),
            ends: watch::Sender::new(()),
            readers: 0,
            idle_since: now,
            consumed: false,
        }
    }

    /// A query that may take so long in all.
    pub(crate) fn limited(mut self, limit: Option<Duration>) -> Self {
        self.limit = limit;
        self
    }

    /// A query as its former owner's journal leaves it, adopted at that epoch.
    pub(crate) fn adopted(
        query: QueryId,
        epoch: Epoch,
        me: SchedulerId,
        legacy: Legacy,
        now: Instant,
    ) -> Self {
        let age = unix_millis().saturating_sub(legacy.accepted_unix_millis);
        let accepted = now.checked_sub(Duration::from_millis(age)).unwrap_or(now);
        let catalog = CatalogVersion(legacy.catalog);
        // It is in a journal: nobody needs to know how to run it afresh.
        let ticket = Ticket {
            query,
            accepted_by: me,
            catalog,
            afresh: None,
            made: false,
        };
        QueryRecord {
            epoch,
            catalog,
            ticket: Some(ticket),
            submitted: legacy.submitted,
            kept: legacy.kept,
            write: legacy.write,
            idempotency_key: legacy.idempotency_key,
            requested: legacy.requested,
            accepted_unix_millis: legacy.accepted_unix_millis,
            planning: legacy.planning,
            limit: legacy.limit,
            ..QueryRecord::new(
                query,
                legacy.sql,
                legacy.schema,
                legacy.plan.ok(),
                accepted,
                now,
            )
        }
    }

    /// A statement that the scheduler answered itself.
    pub(crate) fn answered(mut self, batches: Vec<RecordBatch>, now: Instant) -> Self {
        self.settle_rows(batches, now);
        self
    }

    /// Notes what its client calls it, if it gave it a name.
    pub(crate) fn name(&mut self, named: Option<Named>) {
        if let Some(Named { key, requested }) = named {
            self.idempotency_key = Some(key);
            self.requested = Some(requested);
        }
    }

    /// What its client asked for, as far as that is known.
    pub(crate) fn asked(&self) -> Requested {
        let requested = self.requested.clone();
        requested.unwrap_or_else(|| Requested::of_text(&self.sql))
    }

    /// Whether its result goes with its record: it is in no outcome and not in the log of the catalog, and
    /// it is not simply made again.
    pub(crate) fn leaves_nothing(&self) -> bool {
        self.plan.is_some() && self.kept.is_none() && self.write.is_none()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<ResultState> {
        self.result.subscribe()
    }

    pub(crate) fn watch_manifest(&self) -> watch::Receiver<ResultState> {
        self.manifest.subscribe()
    }

    /// Whether it has an outcome some day, and does not have it yet: until then its end may become another
    /// one with its next owner.
    pub(crate) fn awaits_outcome(&self) -> bool {
        match self.kept {
            Some(_) => !self.is_concluded,
            None => self.awaits_commit(),
        }
    }

    /// Sees when it has its outcome, or another owner.
    pub(crate) fn watch_ends(&self) -> watch::Receiver<()> {
        self.ends.subscribe()
    }

    /// It has ended, or has its outcome, or another owner.
    pub(crate) fn tell_of_end(&self) {
        self.ends.send_replace(());
    }

    /// Whether its tasks may be done and it is not: what they wrote does not count yet.
    pub(crate) fn awaits_commit(&self) -> bool {
        self.write.is_some() && !self.state.is_final()
    }

    /// Where it wrote files that others see, if it failed for good: then none of them is to stay.
    pub(crate) fn leaves_behind(&self) -> Option<&WriteInto> {
        let told = self.kept.is_none() || self.is_concluded;
        let failed = told && self.state.is_final() && self.state != QueryState::Finished;
        let into = self.write.as_ref().filter(|_| failed);
        into.filter(|into| matches!(into, WriteInto::Files { .. }))
    }

    pub(crate) fn status(
        &self,
        owner: &SchedulerId,
        live: Option<(QueryState, Vec<StageProgress>)>,
        now: Instant,
    ) -> QueryStatus {
        let (state, stages) = match live {
            // What is made again after the end does not un-end the query.
            Some((state, stages)) if !self.state.is_final() => {
                let done = state.is_final() && self.awaits_commit();
                (if done { self.state } else { state }, stages)
            }
            // It ends for its client when its result is stored.
            _ if self.kept.is_some() && !self.is_concluded => {
                (QueryState::Running, self.stages.clone())
            }
            _ => (self.state, self.stages.clone()),
        };
        QueryStatus {
            query: self.query,
            owner: owner.clone(),
            epoch: self.epoch,
            state,
            sql: self.sql.clone(),
            stages,
            error: self.error.clone().filter(|_| state.is_final()),
            elapsed: self
                .ended
                .unwrap_or(now)
                .saturating_duration_since(self.accepted),
            planning: self.planning,
            submitted: self.kept.is_some(),
            accepted_at_unix_ms: Some(self.accepted_unix_millis),
            result: self.stored,
        }
    }
}
