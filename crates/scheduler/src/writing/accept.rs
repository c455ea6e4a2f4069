//! Accepting a statement that writes: whatever its client asked for, it is durable first.

use std::sync::Arc;
use std::time::Instant;

use paceline_frontend::{Statement, Submitted, Ticket};
use paceline_model::{QueryError, QueryId};
use paceline_plan::{QueryPlan, WriteInto, count_schema};

use crate::keyed::Durable;
use crate::record::QueryRecord;
use crate::service::{Service, submitted};
use crate::settings::Session;

impl Service {
    /// Starts a write once it is durable. A journal holds it from then on, so it is carried on or comes
    /// to nothing, and is never run afresh: its ticket does not say how.
    pub(crate) async fn accept_write(
        &self,
        request: &Statement,
        session: &Session,
        (plan, into): (QueryPlan, WriteInto),
        mut ticket: Ticket,
        durable: Option<Durable>,
        accepted: Instant,
    ) -> Result<Submitted, QueryError> {
        let shared = &self.shared;
        ticket.afresh = None;
        let query = ticket.query;
        let durable = durable.unwrap_or_else(|| unnamed(query));
        let limit = durable.timeout.or(session.timeout).or(shared.query_timeout);
        let schema = count_schema();
        let mut record = QueryRecord::new(
            query,
            request.sql.clone(),
            Arc::clone(&schema),
            Some(plan),
            accepted,
            Instant::now(),
        )
        .limited(limit);
        record.catalog = ticket.catalog;
        record.write = Some(into);
        record.ticket = Some(ticket.clone());
        let left = limit.map(|limit| limit.saturating_sub(accepted.elapsed()));
        let deadline = left.map(|left| shared.driver.now_after(left));
        match self.accept_durably(record, durable, deadline).await? {
            Some(elsewhere) => Ok(elsewhere),
            None => Ok(submitted(query, schema, ticket, None)),
        }
    }
}

/// For a client that waits, and has no name of its own for the statement.
fn unnamed(query: QueryId) -> Durable {
    Durable {
        query,
        named: None,
        timeout: None,
        kept: None,
        turn: None,
    }
}
