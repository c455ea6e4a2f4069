//! Statements and tickets between schedulers: one that leaves has others accept what still comes.

use paceline_frontend::{Afresh, Origin, Statement, Submitted, Ticket};
use paceline_model::{CatalogVersion, ErrorClass, QueryError, QueryId};
use paceline_proto::cluster;
use paceline_proto::cluster::forward_response::Answer;
use uuid::Uuid;

use crate::record::QueryRecord;
use crate::service::Service;
use crate::shared::Shared;

/// Has another scheduler accept the statement.
///
/// # Errors
/// What that one says, or that there is none.
pub(crate) async fn pass_on(shared: &Shared, request: &Statement) -> Result<Submitted, QueryError> {
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
    let submit = cluster::Submit {
        statement: statement.encode()?,
        idempotency_key: request.idempotency_key.clone().unwrap_or_default(),
        origin: request.origin.as_str().to_string(),
    };
    match shared.peers.submit(shared, submit).await {
        Some(Ok(Answer::Submitted(submitted))) => from_wire(submitted).map(|(it, _)| it),
        Some(Err(error)) => Err(error),
        Some(Ok(_)) | None => Err(QueryError::new(
            ErrorClass::Unavailable,
            "this scheduler is shutting down, and no other one answers: send the statement again \
             in a moment",
        )),
    }
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
