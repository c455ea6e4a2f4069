//! Statements that change the catalog. Under a name of its client's a change is made once, whichever
//! schedulers are asked; who asks again is told so without it being planned again, because what it was
//! planned with may be gone by then.

use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{Schema, SchemaRef};
use paceline_frontend::{Statement, Submitted, Ticket};
use paceline_model::{CatalogVersion, QueryError, QueryId};
use paceline_plan::Change;
use paceline_store::ChangeName;
use tokio::sync::oneshot;

use crate::keyed::{Durable, doubtful};
use crate::record::QueryRecord;
use crate::service::{Service, submitted};

impl Service {
    /// The answer of a change that was made before, under the name that its client gives it again. Whoever made
    /// it may not have told all others yet, and is not waited for.
    ///
    /// # Errors
    /// If that was another request.
    pub(crate) async fn made_before(
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
        let shared = &self.shared;
        if !shared.catalog.has_made(durable.query, &named.requested)? {
            return Ok(None);
        }
        let version = shared.catalog.version();
        shared.peers.tell_of_catalog(shared, version).await;
        let answer = self.answer_change(durable.query, request, Some(durable), accepted);
        Ok(Some(answer))
    }

    /// Changes the catalog, here and at every live peer, before the client is told. The change was planned
    /// with version `since`.
    ///
    /// # Errors
    /// Why it cannot be made, or that nobody knows whether it was.
    pub(crate) async fn change(
        &self,
        query: QueryId,
        change: Change,
        request: &Statement,
        durable: Option<Durable>,
        accepted: Instant,
        since: CatalogVersion,
    ) -> Result<Submitted, QueryError> {
        let name = durable.as_ref().and_then(Durable::change_name);
        self.make(change, name, since).await?;
        let shared = &self.shared;
        let named = durable.as_ref().and_then(|durable| durable.named.as_ref());
        if let Some(named) = named {
            // Another one may have been faster under that name.
            shared.catalog.has_made(query, &named.requested)?;
        }
        Ok(self.answer_change(query, request, durable.as_ref(), accepted))
    }

    /// Makes a change, and tells all others of it. Both are seen through, also if the client goes away: whoever
    /// is in contact with this scheduler relies on being told.
    async fn make(
        &self,
        change: Change,
        name: Option<ChangeName>,
        since: CatalogVersion,
    ) -> Result<(), QueryError> {
        let (tell, told) = oneshot::channel();
        let (shared, is_named) = (Arc::clone(&self.shared), name.is_some());
        self.shared.spawn_until_stopped(async move {
            let me = shared.driver.me();
            let name = name.as_ref().map(|name| (name, since));
            let made = shared.catalog.change(change, &me, name).await;
            if let Ok(version) = &made {
                shared.peers.tell_of_catalog(&shared, *version).await;
            }
            // Who asked may be gone.
            let _ = tell.send(made.map(drop));
        });
        let stopped = |_| Err(doubtful(is_named, "this scheduler is shutting down"));
        told.await.unwrap_or_else(stopped)
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use paceline_frontend::{Origin, SessionSettings};
    use paceline_store::Members;

    use super::*;
    use crate::keyed::named;
    use crate::requested::Requested;
    use crate::shared::Shared;
    use crate::testing::{beacon, cluster_port, serve, shared, store};

    const SQL: &str = "CREATE SCHEMA s";

    /// Two schedulers. The first one reaches the other, which never looks at the catalog by itself.
    async fn two(directory: &Path) -> (Service, Arc<Shared>) {
        let (one, other) = (shared(directory).await, shared(directory).await);
        let mut served = beacon(other.driver.me(), 1);
        served.addresses.cluster = serve(cluster_port(&other)).await;
        let members = Members::new(store(directory));
        members.beat(&served).await.unwrap();
        (Service::new(one), other)
    }

    fn statement() -> Statement {
        Statement::new(SQL, SessionSettings::default(), Origin::Http)
    }

    /// They would plan without it until another change is made.
    #[tokio::test]
    async fn others_are_told_of_a_change_though_its_client_has_gone_away() {
        let directory = tempfile::tempdir().unwrap();
        let (service, other) = two(directory.path()).await;
        let before = other.catalog.version();
        let changed = async {
            while service.shared.catalog.version() == before {
                tokio::task::yield_now().await;
            }
        };
        let statement = statement();
        // Cancel safety: the client goes away, which is what is looked at.
        tokio::select! {
            biased;
            told = service.accept(&statement, None) => {
                panic!("the other one knows before its client: {told:?}")
            }
            () = changed => {}
        }
        let told = async {
            while other.catalog.version() == before {
                tokio::task::yield_now().await;
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(60), told).await;
        assert!(told.is_ok(), "nobody tells it");
        for scheduler in [&service.shared, &other] {
            scheduler.stop.cancel();
        }
    }

    /// Whoever made it died before it had told anybody, or tells them still.
    #[tokio::test]
    async fn others_know_of_a_change_before_who_repeats_it_is_told_that_it_was_made() {
        let directory = tempfile::tempdir().unwrap();
        let (service, other) = two(directory.path()).await;
        let shared = &service.shared;
        let requested = Requested::statement(SQL, &SessionSettings::default(), None).unwrap();
        let name = ChangeName {
            query: named("k"),
            statement: requested.to_string(),
        };
        let (change, me) = (
            Change::CreateSchema {
                name: "s".to_string(),
                if_not_exists: false,
            },
            shared.driver.me(),
        );
        let nothing = Some((&name, CatalogVersion::default()));
        let made = shared.catalog.change(change, &me, nothing).await.unwrap();
        assert!(other.catalog.version() < made);
        service.once("k", &statement()).await.unwrap();
        assert_eq!(other.catalog.version(), made);
        for scheduler in [shared, &other] {
            scheduler.stop.cancel();
        }
    }
}
