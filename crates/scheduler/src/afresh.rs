//! Running a query afresh that was lost with its scheduler before it reached a journal.
//!
//! It is an adoption with nothing known but the statement, which the client's ticket brings: recorded
//! first, claimed second, so that of two schedulers asked at once one runs it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use paceline_frontend::Ticket;
use paceline_model::{Epoch, ErrorClass, QueryError};
use paceline_plan::Planned;
use paceline_proto::state::Known;

use crate::finding::leaving;
use crate::news::News;
use crate::record::QueryRecord;
use crate::requested::Requested;
use crate::service::Service;
use crate::settings::{parameters, session};
use crate::written;

/// How long to wait for the outcome of the claim before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl Service {
    /// Sees to it that somebody runs the query of a ticket at that epoch, or has begun to.
    ///
    /// # Errors
    /// If the ticket does not say how, or the statement cannot be planned any more.
    pub(crate) async fn run_afresh(&self, ticket: &Ticket, epoch: Epoch) -> Result<(), QueryError> {
        let shared = &self.shared;
        let Some(afresh) = &ticket.afresh else {
            return Err(crate::peers::unknown(ticket.query));
        };
        let _only = shared.turns.begin(ticket.query).await;
        if shared.driver.drives(ticket.query) {
            return Ok(());
        }
        let begun = Instant::now();
        // One that leaves has no journal to record it in.
        let Some(_entering) = shared.entrance.enter() else {
            return Err(leaving());
        };
        let session = session(&afresh.session)?;
        let catalog = shared.catalog().await?;
        let values = parameters(afresh.parameters.as_ref())?;
        let slots = shared.driver.slots();
        let planned = shared
            .planner
            .plan(&afresh.sql, values, &session.planning, &catalog, &slots)
            .await?;
        let now = Instant::now();
        let values = afresh.parameters.as_ref();
        let requested = Requested::statement(&afresh.sql, &afresh.session, values)?;
        let record = |schema, plan| {
            let sql = afresh.sql.clone();
            let mut record = QueryRecord::new(ticket.query, sql, schema, plan, begun, now);
            // Its client may have a name for it, and use that again.
            record.requested = Some(requested);
            record
        };
        match planned {
            Planned::Rows { schema, batches } => {
                let mut answered = record(schema, None).answered(batches, now);
                answered.ticket = Some(ticket.clone());
                shared.driver.submit(answered, None);
                return Ok(());
            }
            Planned::Change(_) | Planned::Write { .. } => {
                return Err(QueryError::new(
                    ErrorClass::Bug,
                    "a ticket names a statement that changes something: it is never repeated",
                ));
            }
            Planned::Query(plan) => {
                let limit = session.timeout.or(shared.query_timeout);
                let schema = Arc::clone(&plan.schema);
                let mut record = record(schema, Some(plan)).limited(limit);
                record.catalog = catalog.version();
                let known = Known {
                    statement: written::statement(&record),
                    ..Known::default()
                };
                tracing::info!(query = %ticket.query, %epoch, "lost before it was journaled: run afresh");
                let mut changes = shared.driver.newsroom.changes_of(ticket.query);
                let news = News::Afresh(ticket.query, epoch, Box::new(known));
                shared.driver.newsroom.tell(news);
                // Whether it is won here or elsewhere, the caller looks for it again.
                let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use paceline_frontend::{Afresh, SessionSettings};
    use paceline_model::{CatalogVersion, QueryId, SchedulerId};
    use uuid::Uuid;

    use super::*;
    use crate::testing::shared;

    /// Or it would be planned again and again, until the scheduler is gone.
    #[tokio::test]
    async fn one_that_leaves_runs_nothing_afresh() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let ticket = Ticket {
            query: QueryId(Uuid::now_v7()),
            accepted_by: SchedulerId::new("gone"),
            catalog: CatalogVersion(0),
            afresh: Some(Afresh {
                sql: "SELECT 1 AS a".to_string(),
                session: SessionSettings::default(),
                parameters: None,
            }),
            made: false,
        };
        shared.begin_draining();
        let service = Service::new(Arc::clone(&shared));
        let told = service.run_afresh(&ticket, Epoch(1)).await.unwrap_err();
        assert_eq!(told.class, ErrorClass::Unavailable, "{told}");
        assert!(told.message.contains("another one"), "{told}");
        shared.stop.cancel();
    }
}
