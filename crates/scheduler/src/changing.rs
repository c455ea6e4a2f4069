//! Statements that change the catalog. Under a name of its client's a change is made once, whichever
//! schedulers are asked; who asks again is told so without it being planned again, because what it was
//! planned with may be gone by then.

use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{Schema, SchemaRef};
use paceline_frontend::{Statement, Submitted, Ticket};
use paceline_model::{CatalogVersion, QueryError, QueryId};
use paceline_plan::Change;

use crate::keyed::Durable;
use crate::record::QueryRecord;
use crate::service::{Service, submitted};

impl Service {
    /// The answer of a change that was made before, under the name that its client gives it again.
    ///
    /// # Errors
    /// If that was another request.
    pub(crate) fn made_before(
        &self,
        request: &Statement,
        durable: Option<&Durable>,
        accepted: Instant,
    ) -> Result<Option<Submitted>, QueryError> {
        let Some(durable) = durable else {
            return Ok(None);
        };
        let Some(named) = &durable.named else {
            return Ok(None);
        };
        let catalog = &self.shared.catalog;
        let made = catalog.has_made(durable.query, &named.requested)?;
        Ok(made.then(|| self.answer_change(durable.query, request, Some(durable), accepted)))
    }

    /// Changes the catalog, here and at every live peer, before the client is told. The change was planned
    /// with version `since`.
    pub(crate) async fn change(
        &self,
        query: QueryId,
        change: Change,
        request: &Statement,
        durable: Option<Durable>,
        accepted: Instant,
        since: CatalogVersion,
    ) -> Result<Submitted, QueryError> {
        let (shared, me) = (&self.shared, self.shared.driver.me());
        let name = durable.as_ref().and_then(Durable::change_name);
        let name = name.as_ref().map(|name| (name, since));
        let version = shared.catalog.change(change, &me, name).await?;
        shared.peers.tell_of_catalog(shared, version).await;
        let named = durable.as_ref().and_then(|durable| durable.named.as_ref());
        if let Some(named) = named {
            // Another one may have been faster under that name.
            shared.catalog.has_made(query, &named.requested)?;
        }
        Ok(self.answer_change(query, request, durable.as_ref(), accepted))
    }

    /// What a change answers: no rows, and that it changed none.
    fn answer_change(
        &self,
        query: QueryId,
        request: &Statement,
        durable: Option<&Durable>,
        accepted: Instant,
    ) -> Submitted {
        let (shared, now) = (&self.shared, Instant::now());
        let schema: SchemaRef = Arc::new(Schema::empty());
        let ticket = Ticket {
            query,
            accepted_by: shared.driver.me(),
            catalog: shared.catalog.version(),
            afresh: None,
            made: true,
        };
        let (sql, columns) = (request.sql.clone(), Arc::clone(&schema));
        let record = QueryRecord::new(query, sql, columns, None, accepted, now);
        let mut answered = record.answered(vec![], now);
        answered.ticket = Some(ticket.clone());
        answered.rows_affected = Some(0);
        if let Some(durable) = durable {
            answered.kept = durable.kept;
            answered.name(durable.named.clone());
        }
        shared.driver.submit(answered, None);
        submitted(query, schema, ticket, Some(0))
    }
}
