//! Statements that a client gave a name of its own: whichever schedulers it sends one to, and however
//! often, they are one query.
//!
//! The query's id is made from the name, so every scheduler knows which query is meant. It is in the
//! journal before anything else, then claimed: who loses the claim drops its copy and points to the
//! winner. If the journal is sealed between the two, whoever takes over makes the claim
//! ([`Step::Submit`](paceline_core::ownership::Step::Submit)).

use std::sync::Arc;
use std::time::Duration;

use paceline_core::Now;
use paceline_core::ownership::{Stance, claimed};
use paceline_frontend::{Statement, Submitted};
use paceline_model::{Epoch, ErrorClass, QueryError, QueryId, SchedulerId};
use paceline_plan::count_schema;
use paceline_proto::cluster;
use paceline_proto::cluster::forward_request::Operation;
use paceline_proto::cluster::forward_response::Answer;
use paceline_store::{ChangeName, Ending};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use uuid::Builder;

use crate::catalog::Catalogs;
use crate::finding::{self, Found, GRACE_LOOKS, LOOK_AGAIN, leaving};
use crate::handover::{self, Attached};
use crate::record::QueryRecord;
use crate::requested::{Named, Requested};
use crate::service::Service;
use crate::turns::Turn;
use crate::writing::is_write;
use crate::written;

/// Goes before every name that an id is made from. Part of the protocol: all schedulers must make the
/// same id of a name.
const NAMES: &[u8] = b"paceline.query.v1:";

/// Between two looks at whose a query is while the store does not say.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// What became of a query that was to be written down.
enum Accepted {
    /// It is this scheduler's.
    Here,
    /// It is another one's, who accepted the same before.
    Elsewhere(Submitted),
    /// It is in the journal, and whose it is is not known yet.
    InDoubt(QueryError),
}

/// What a statement is to be made durable under.
#[derive(Debug)]
pub(crate) struct Durable {
    pub(crate) query: QueryId,
    /// The client's own name for it, if it gave one.
    pub(crate) named: Option<Named>,
    /// How long it may take in all.
    pub(crate) timeout: Option<Duration>,
    /// Whether it runs by itself, and how long its result is kept then.
    pub(crate) kept: Option<Duration>,
    /// Who repeats it waits until it is there to be found, also if its client has gone away by then.
    pub(crate) turn: Option<Turn>,
}

impl Durable {
    /// What a change of the catalog is known by, if its client gave it a name.
    pub(crate) fn change_name(&self) -> Option<ChangeName> {
        let named = self.named.as_ref()?;
        Some(ChangeName {
            query: self.query,
            statement: named.requested.to_string(),
        })
    }
}

impl Catalogs {
    /// Whether this very change was made under its client's name for it.
    ///
    /// # Errors
    /// If the name was given to another one.
    pub(crate) fn has_made(
        &self,
        query: QueryId,
        requested: &Requested,
    ) -> Result<bool, QueryError> {
        match self.known().carried_out(query) {
            Some(first) => Requested::read(first).agree(requested).map(|()| true),
            None => Ok(false),
        }
    }
}

/// The query that a name stands for.
pub(crate) fn named(key: &str) -> QueryId {
    let digest = Sha256::new()
        .chain_update(NAMES)
        .chain_update(key)
        .finalize();
    let mut bytes = [0; 16];
    bytes
        .iter_mut()
        .zip(digest.as_slice())
        .for_each(|(to, from)| *to = *from);
    QueryId(Builder::from_custom_bytes(bytes).into_uuid())
}

impl Service {
    /// The one query that a name stands for, started unless it was.
    ///
    /// # Errors
    /// What is wrong with the statement, or that the name stands for another request.
    pub(crate) async fn once(
        &self,
        key: &str,
        request: &Statement,
    ) -> Result<Submitted, QueryError> {
        let query = named(key);
        let values = request.parameters.as_ref();
        let requested = Requested::statement(&request.sql, &request.session, values)?;
        let turn = self.shared.turns.begin(query).await;
        self.is_settled(query, &requested)?;
        if let Some(attached) = self.attach(query, None).await? {
            attached.requested.agree(&requested)?;
            return Ok(attached.submitted);
        }
        if let Some(ending) = self.ended(query, &requested).await? {
            return match is_write(&ending) {
                true => Ok(self.ended_before(query, &ending, count_schema())),
                false => Err(gone()),
            };
        }
        if self.shared.driver.has_ended(query) {
            return Err(gone());
        }
        let key = key.to_string();
        let durable = Durable {
            query,
            named: Some(Named { key, requested }),
            timeout: None,
            kept: None,
            turn: Some(turn),
        };
        self.accept(request, Some(durable)).await
    }

    /// Sees to it that a query is not in the journal already, without it being known whose it is. Begun once
    /// more it could be planned otherwise, and run as one plan and be written down as the other.
    ///
    /// # Errors
    /// That this is not known; or that its name was given to another request.
    pub(crate) fn is_settled(
        &self,
        query: QueryId,
        requested: &Requested,
    ) -> Result<(), QueryError> {
        let Some(first) = self.shared.turns.doubted(query) else {
            return Ok(());
        };
        first.agree(requested)?;
        Err(doubtful(true, "it is not known yet who drives it"))
    }

    /// The outcome of a query that nobody drives any more, if it has one.
    ///
    /// # Errors
    /// If its name was given to another request.
    pub(crate) async fn ended(
        &self,
        query: QueryId,
        requested: &Requested,
    ) -> Result<Option<Ending>, QueryError> {
        let ending = self.outcome(query).await?;
        if let Some(ending) = &ending {
            Requested::of_ended(ending).agree(requested)?;
        }
        Ok(ending)
    }

    /// What a client gets to hold of a query that is known somewhere.
    pub(crate) async fn attach(
        &self,
        query: QueryId,
        first: Option<&SchedulerId>,
    ) -> Result<Option<Attached>, QueryError> {
        let shared = &self.shared;
        let ask = Operation::Ticket(cluster::Empty {});
        loop {
            if let Some(Some(attached)) = shared.driver.with_record(&query, handover::attach) {
                return Ok(Some(attached));
            }
            match finding::ask(shared, query, first, &ask).await {
                Ok(Found::Here) => {}
                Ok(Found::Answer(Answer::Submitted(submitted))) => {
                    return handover::from_wire(submitted).map(Some);
                }
                Ok(Found::Answer(_)) => return Err(crate::peers::unknown(query)),
                // No journal holds a query any more that has its outcome, which tells what came of it.
                Ok(Found::Lost(_)) => {
                    return match self.outcome(query).await? {
                        Some(_) => Ok(None),
                        None => Err(gone()),
                    };
                }
                Err(error) if error.class == ErrorClass::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes down a query that its client may rely on, and starts it. If the same was accepted elsewhere
    /// before, that one is returned. What is begun is seen through, also if the client goes away: a query
    /// in the journal that nobody drives would run when this scheduler is gone. So it is refused now, if there
    /// is no place for it, or not at all.
    ///
    /// # Errors
    /// If there is no place for it, or if it is not known to be accepted; then asking again with the same name
    /// is right.
    pub(crate) async fn accept_durably(
        &self,
        record: QueryRecord,
        durable: Durable,
        deadline: Option<Now>,
    ) -> Result<Option<Submitted>, QueryError> {
        let place = self.shared.driver.take_place()?;
        let (tell, told) = oneshot::channel();
        let service = self.clone();
        self.shared.spawn_until_stopped(async move {
            service.see_through(record, durable, deadline, tell).await;
            // By now it has been submitted.
            drop(place);
        });
        told.await.unwrap_or_else(|_| Err(leaving()))
    }

    async fn see_through(
        &self,
        mut record: QueryRecord,
        mut durable: Durable,
        deadline: Option<Now>,
        tell: oneshot::Sender<Result<Option<Submitted>, QueryError>>,
    ) {
        let me = self.shared.driver.me();
        let turn = durable.turn.take();
        let accepted = match self.make_durable(&mut record, durable, &me).await {
            Ok(Accepted::Here) => self.start_durable(record, deadline, &me).await,
            Ok(Accepted::Elsewhere(there)) => Ok(Some(there)),
            Ok(Accepted::InDoubt(error)) => {
                let doubt = self.shared.turns.doubt(turn, record.query, record.asked());
                let _ = tell.send(Err(error));
                self.settle(record, deadline, &me).await;
                drop(doubt);
                return;
            }
            Err(error) => Err(error),
        };
        drop(turn);
        // Who asked may be gone.
        let _ = tell.send(accepted);
    }

    /// Writes the query into the journal of `me`, then claims it.
    async fn make_durable(
        &self,
        record: &mut QueryRecord,
        durable: Durable,
        me: &SchedulerId,
    ) -> Result<Accepted, QueryError> {
        let shared = &self.shared;
        record.submitted = true;
        record.name(durable.named);
        record.kept = durable.kept;
        let Some(statement) = written::statement(record) else {
            return Ok(Accepted::Here);
        };
        let query = record.query;
        if shared.driver.drives(query) {
            // It was adopted while this was planned, and the journal has it as it was first.
            let there = self.driven_elsewhere(record, me).await;
            return there.map(Accepted::Elsewhere);
        }
        let accepted = written::accepted(query, statement);
        let named = record.idempotency_key.is_some();
        let written = shared.driver.scribe.durable(me, query, accepted).await;
        written.map_err(|e| doubtful(named, &e.to_string()))?;
        let by = match shared.journaling.claims.submit(query, me).await {
            Ok(by) => by,
            Err(error) => return Ok(Accepted::InDoubt(doubtful(named, &error.to_string()))),
        };
        if claimed(me, &by) == Stance::Mine {
            return Ok(Accepted::Here);
        }
        shared.driver.scribe.forget(me, query, Epoch(0));
        let there = self.driven_elsewhere(record, &by).await;
        there.map(Accepted::Elsewhere)
    }

    /// Finds out, for as long as it takes, whose a query is that is in the journal of `me`, and starts it
    /// if it is its own. Once that journal is sealed, whoever sealed it does.
    async fn settle(&self, record: QueryRecord, deadline: Option<Now>, me: &SchedulerId) {
        let (shared, query) = (&self.shared, record.query);
        let by = loop {
            #[expect(
                clippy::disallowed_methods,
                reason = "nobody tells when the state store is back, and nobody waits for this"
            )]
            tokio::time::sleep(SETTLE_AGAIN).await;
            if shared.driver.me() != *me {
                return;
            }
            if let Ok(by) = shared.journaling.claims.submit(query, me).await {
                break by;
            }
        };
        if claimed(me, &by) != Stance::Mine {
            return shared.driver.scribe.forget(me, query, Epoch(0));
        }
        // Whose it is by now is for who asks.
        let _ = self.start_durable(record, deadline, me).await;
    }

    /// Starts a query that was made durable, or finds it with whoever drives it by now: between the
    /// record and this, the journal that it is in may have been sealed.
    async fn start_durable(
        &self,
        record: QueryRecord,
        deadline: Option<Now>,
        me: &SchedulerId,
    ) -> Result<Option<Submitted>, QueryError> {
        match self.shared.driver.submit_as(me, record, deadline) {
            Ok(()) => Ok(None),
            Err(record) => self.driven_elsewhere(&record, me).await.map(Some),
        }
    }

    async fn driven_elsewhere(
        &self,
        record: &QueryRecord,
        by: &SchedulerId,
    ) -> Result<Submitted, QueryError> {
        let (query, requested) = (record.query, record.asked());
        for look in 0..=GRACE_LOOKS {
            if look > 0 {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "another scheduler is accepting it, and nobody tells when it has"
                )]
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            if let Some(attached) = self.attach(query, Some(by)).await? {
                attached.requested.agree(&requested)?;
                return Ok(attached.submitted);
            }
            if let Some(ending) = self.ended(query, &requested).await? {
                return Ok(self.ended_before(query, &ending, Arc::clone(&record.schema)));
            }
        }
        match record.write.is_some() || record.kept.is_some() {
            // One that has ended has an outcome, so this one is still being accepted.
            true => Err(doubtful(true, "another scheduler is accepting it")),
            false => Err(gone()),
        }
    }
}

pub(crate) fn gone() -> QueryError {
    QueryError::new(
        ErrorClass::User,
        "this Idempotency-Key was used for a query that has ended and whose result is gone: use a \
         new one",
    )
}

/// Nobody can tell whether the statement was accepted.
pub(crate) fn doubtful(named: bool, problem: &str) -> QueryError {
    let advice = match named {
        true => "send it again, with the same Idempotency-Key",
        false => "look before you send it again; with an Idempotency-Key a repeat is harmless",
    };
    QueryError::new(
        ErrorClass::Unavailable,
        format!("the statement may be accepted or not ({problem}): {advice}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_stands_for_is_frozen() {
        let id = named("nightly-report").to_string();
        assert_eq!(id, "b568f07a-2d94-83db-9dbb-a8f676b11a37");
        assert_ne!(named("a"), named("b"));
    }
}
