//! Statements and tickets between schedulers: one that leaves has others accept what still comes.

#[cfg(test)]
mod tests;

use std::time::Duration;

use paceline_frontend::{Afresh, Origin, Statement, Submission, Submitted, Ticket};
use paceline_model::{CatalogVersion, ErrorClass, QueryError, QueryId, QueryStatus, SchedulerId};
use paceline_proto::cluster;
use paceline_proto::cluster::forward_response::Answer;
use uuid::Uuid;

use crate::peers;
use crate::record::QueryRecord;
use crate::requested::Requested;
use crate::service::Service;
use crate::shared::Shared;
use crate::written::millis;

/// Has another scheduler accept the statement.
///
/// # Errors
/// What that one says, or that there is none.
pub(crate) async fn pass_on(shared: &Shared, request: &Statement) -> Result<Submitted, QueryError> {
    let submit = passed_on(shared, request)?;
    let asked = shared.peers.submit(shared, submit).await;
    match asked.answer {
        Some(Ok(Answer::Submitted(submitted))) => from_wire(submitted).map(|it| it.submitted),
        Some(Err(error)) => Err(error),
        Some(Ok(_)) | None => Err(nobody(request, &asked.silent)),
    }
}

/// Has another scheduler accept a statement that runs by itself, and whose result is kept so long.
///
/// # Errors
/// What that one says, or that there is none.
pub(crate) async fn pass_on_submission(
    shared: &Shared,
    request: &Submission,
    kept: Duration,
) -> Result<QueryStatus, QueryError> {
    let submit = submission_passed_on(shared, request, kept)?;
    let asked = shared.peers.submit(shared, submit).await;
    match asked.answer {
        Some(Ok(Answer::Status(json))) => peers::status(&json),
        Some(Err(error)) => Err(error),
        Some(Ok(_)) | None => Err(nobody(&request.statement, &asked.silent)),
    }
}

fn submission_passed_on(
    shared: &Shared,
    request: &Submission,
    kept: Duration,
) -> Result<cluster::Submit, QueryError> {
    Ok(cluster::Submit {
        kept_millis: Some(millis(kept)),
        kept_by_default: request.result_ttl.is_none(),
        timeout_millis: request.timeout.map(millis),
        ..passed_on(shared, &request.statement)?
    })
}

fn passed_on(shared: &Shared, request: &Statement) -> Result<cluster::Submit, QueryError> {
    // Only its last field means something: a statement in the form in which tickets carry it.
    let statement = Ticket {
        query: QueryId(Uuid::nil()),
        accepted_by: shared.driver.me(),
        catalog: CatalogVersion::default(),
        afresh: Some(Afresh {
            sql: request.sql.clone(),
            session: request.session.clone(),
            parameters: request.parameters.clone(),
        }),
        made: false,
    };
    Ok(cluster::Submit {
        statement: statement.encode()?,
        idempotency_key: name_of(request),
        origin: request.origin.as_str().to_string(),
        ..cluster::Submit::default()
    })
}

/// The client's own name for a statement, or one that is drawn for it. Whoever falls silent may have accepted
/// it all the same; under one name it is one query wherever it was accepted.
fn name_of(request: &Statement) -> String {
    let given = request.idempotency_key.clone();
    given.unwrap_or_else(|| format!("passed-on-{}", Uuid::new_v4()))
}

/// Nobody says that the statement was accepted.
fn nobody(request: &Statement, silent: &[SchedulerId]) -> QueryError {
    let message = if silent.is_empty() {
        "this scheduler is shutting down, and no other one accepts statements: send the statement \
         again in a moment"
            .to_string()
    } else {
        let silent: Vec<&str> = silent.iter().map(SchedulerId::as_str).collect();
        let advice = match &request.idempotency_key {
            Some(_) => "send it again, with the same Idempotency-Key",
            None => "look before you send it again; with an Idempotency-Key a repeat is harmless",
        };
        format!(
            "this scheduler is shutting down, and no answer comes from {}: the statement may be \
             accepted or not; {advice}",
            silent.join(", ")
        )
    };
    QueryError::new(ErrorClass::Unavailable, message)
}

/// Accepts a statement that another scheduler passes on.
pub(crate) async fn accept(
    service: &Service,
    submit: cluster::Submit,
) -> Result<Answer, QueryError> {
    let Some(afresh) = Ticket::decode(&submit.statement)?.afresh else {
        return Err(QueryError::new(
            ErrorClass::Bug,
            "a peer passed on no statement",
        ));
    };
    let origin = match submit.origin.as_str() {
        "flight_sql" => Origin::FlightSql,
        "metadata" => Origin::Metadata,
        _ => Origin::Http,
    };
    let statement = Statement {
        parameters: afresh.parameters,
        idempotency_key: Some(submit.idempotency_key).filter(|key| !key.is_empty()),
        ..Statement::new(afresh.sql, afresh.session, origin)
    };
    if let Some(kept) = submit.kept_millis {
        // As its client sent it, which is what a repeat is compared with.
        let said = (!submit.kept_by_default).then(|| Duration::from_millis(kept));
        let submission = Submission {
            statement,
            timeout: submit.timeout_millis.map(Duration::from_millis),
            result_ttl: said,
        };
        let status = service.accept_submission(submission).await?;
        return peers::status_to_wire(&status);
    }
    let submitted = paceline_frontend::QueryService::submit(service, statement).await?;
    let attached = Attached {
        submitted,
        // Whoever passed it on knows.
        requested: Requested::default(),
    };
    to_wire(&attached)
}

/// What a client that names a query gets to hold of it, and what it was that the name was given to.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) submitted: Submitted,
    pub(crate) requested: Requested,
}

/// What a client that names a query gets to hold of it. None if the record has no ticket.
pub(crate) fn attach(record: &mut QueryRecord) -> Option<Attached> {
    if record.is_moved() {
        return None;
    }
    let submitted = Submitted {
        query: record.query,
        schema: std::sync::Arc::clone(&record.schema),
        ticket: record.ticket.clone()?,
        rows_affected: record.rows_affected,
    };
    Some(Attached {
        submitted,
        requested: record.asked(),
    })
}

/// What another scheduler gives its client to hold.
pub(crate) fn to_wire(attached: &Attached) -> Result<Answer, QueryError> {
    let submitted = &attached.submitted;
    Ok(Answer::Submitted(cluster::Submitted {
        ticket: submitted.ticket.encode()?,
        schema: paceline_plan::schema_to_ipc(&submitted.schema).into(),
        rows_affected: submitted.rows_affected,
        request: attached.requested.to_string(),
    }))
}

/// What another scheduler accepted.
pub(crate) fn from_wire(submitted: cluster::Submitted) -> Result<Attached, QueryError> {
    let ticket = Ticket::decode(&submitted.ticket)?;
    let schema = paceline_plan::schema_from_ipc(&submitted.schema)
        .map_err(|e| paceline_plan::classify(&e))?;
    Ok(Attached {
        submitted: Submitted {
            query: ticket.query,
            schema,
            ticket,
            rows_affected: submitted.rows_affected,
        },
        requested: Requested::read(&submitted.request),
    })
}
