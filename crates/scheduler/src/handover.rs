//! Statements and tickets between schedulers: one that leaves has others accept what still comes.

use std::time::Duration;

use paceline_frontend::{Afresh, Origin, Statement, Submission, Submitted, Ticket};
use paceline_model::{CatalogVersion, ErrorClass, QueryError, QueryId, QueryStatus};
use paceline_proto::cluster;
use paceline_proto::cluster::forward_response::Answer;
use uuid::Uuid;

use crate::peers;
use crate::record::QueryRecord;
use crate::service::Service;
use crate::shared::Shared;

/// Has another scheduler accept the statement.
///
/// # Errors
/// What that one says, or that there is none.
pub(crate) async fn pass_on(shared: &Shared, request: &Statement) -> Result<Submitted, QueryError> {
    let submit = passed_on(shared, request)?;
    match shared.peers.submit(shared, submit).await {
        Some(Ok(Answer::Submitted(submitted))) => from_wire(submitted).map(|(it, _)| it),
        Some(Err(error)) => Err(error),
        Some(Ok(_)) | None => Err(nobody()),
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
    let submit = cluster::Submit {
        kept_millis: Some(millis(kept)),
        timeout_millis: request.timeout.map(millis),
        ..passed_on(shared, &request.statement)?
    };
    match shared.peers.submit(shared, submit).await {
        Some(Ok(Answer::Status(json))) => peers::status(&json),
        Some(Err(error)) => Err(error),
        Some(Ok(_)) | None => Err(nobody()),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
        idempotency_key: request.idempotency_key.clone().unwrap_or_default(),
        origin: request.origin.as_str().to_string(),
        ..cluster::Submit::default()
    })
}

fn nobody() -> QueryError {
    QueryError::new(
        ErrorClass::Unavailable,
        "this scheduler is shutting down, and no other one answers: send the statement again in a \
         moment",
    )
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
    let sql = afresh.sql.clone();
    let statement = Statement {
        parameters: afresh.parameters,
        idempotency_key: Some(submit.idempotency_key).filter(|key| !key.is_empty()),
        ..Statement::new(afresh.sql, afresh.session, origin)
    };
    if let Some(kept) = submit.kept_millis {
        let submission = Submission {
            statement,
            timeout: submit.timeout_millis.map(Duration::from_millis),
            result_ttl: Some(Duration::from_millis(kept)),
        };
        let status = service.accept_submission(submission).await?;
        return peers::status_to_wire(&status);
    }
    let submitted = paceline_frontend::QueryService::submit(service, statement).await?;
    to_wire(&submitted, sql)
}

/// What a client that names a query gets to hold of it. None if the record has no ticket.
pub(crate) fn attach(record: &mut QueryRecord) -> Option<(Submitted, String)> {
    if record.is_moved() {
        return None;
    }
    let submitted = Submitted {
        query: record.query,
        schema: std::sync::Arc::clone(&record.schema),
        ticket: record.ticket.clone()?,
        rows_affected: record.rows_affected,
    };
    Some((submitted, record.sql.clone()))
}

/// What another scheduler gives its client to hold; `sql` is the statement's text.
pub(crate) fn to_wire(submitted: &Submitted, sql: String) -> Result<Answer, QueryError> {
    Ok(Answer::Submitted(cluster::Submitted {
        ticket: submitted.ticket.encode()?,
        schema: paceline_plan::schema_to_ipc(&submitted.schema).into(),
        rows_affected: submitted.rows_affected,
        sql,
    }))
}

/// What another scheduler accepted, and its text.
pub(crate) fn from_wire(submitted: cluster::Submitted) -> Result<(Submitted, String), QueryError> {
    let ticket = Ticket::decode(&submitted.ticket)?;
    let schema = paceline_plan::schema_from_ipc(&submitted.schema)
        .map_err(|e| paceline_plan::classify(&e))?;
    let it = Submitted {
        query: ticket.query,
        schema,
        ticket,
        rows_affected: submitted.rows_affected,
    };
    Ok((it, submitted.sql))
}
