//! `DoAction`: preparing, cancelling, sessions.

use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Command,
    ProstMessageExt,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo,
};
use bytes::Bytes;
use paceline_model::QueryError;
use prost::Message;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use super::info::schema_bytes;
use super::prepared::Prepared;
use super::session::CallSession;
use super::stream::sent_schema;
use super::{FlightSql, command, options, unsupported, user};
use crate::service::{Origin, Statement};
use crate::ticket::Ticket;

const OFFERED: [(&str, &str); 7] = [
    (
        "CreatePreparedStatement",
        "Plans a statement; returns a handle that any scheduler can run.",
    ),
    (
        "ClosePreparedStatement",
        "Does nothing: handles hold no resources.",
    ),
    ("CancelFlightInfo", "Cancels the query of a FlightInfo."),
    (
        "CancelQuery",
        "Cancels the query of a FlightInfo; the older form.",
    ),
    (
        "SetSessionOptions",
        "Sets session options; the session is returned as a cookie.",
    ),
    (
        "GetSessionOptions",
        "Returns the options that the session's cookie holds.",
    ),
    ("CloseSession", "Forgets the session's cookie."),
];

/// The actions that [`FlightSql::act`] answers.
pub(super) fn offered() -> impl Iterator<Item = ActionType> {
    OFFERED.into_iter().map(|(name, description)| ActionType {
        r#type: name.to_string(),
        description: description.to_string(),
    })
}

/// The answer to an action.
#[derive(Debug, Default)]
pub(super) struct Acted {
    pub(super) body: Option<Bytes>,
    pub(super) cookie: Option<MetadataValue<Ascii>>,
}

impl Acted {
    pub(super) fn message(message: &impl Message) -> Self {
        Acted {
            body: Some(message.encode_to_vec().into()),
            cookie: None,
        }
    }
}

impl FlightSql {
    pub(super) async fn act(
        &self,
        action: &Action,
        metadata: &MetadataMap,
    ) -> Result<Acted, QueryError> {
        let body = &action.body;
        match action.r#type.as_str() {
            "CreatePreparedStatement" => {
                let prepared = self.prepare(command::of_action(body)?, metadata).await?;
                Ok(Acted::message(&prepared.as_any()))
            }
            "ClosePreparedStatement" => {
                command::of_action::<ActionClosePreparedStatementRequest>(body)?;
                Ok(Acted::default())
            }
            "CancelQuery" => {
                let request = command::of_action::<ActionCancelQueryRequest>(body)?;
                let info = FlightInfo::decode(request.info).map_err(damaged)?;
                self.cancel(&info).await?;
                let result = CancelStatus::Cancelled as i32;
                Ok(Acted::message(&ActionCancelQueryResult { result }.as_any()))
            }
            "CancelFlightInfo" => {
                let request = CancelFlightInfoRequest::decode(Bytes::clone(body));
                let info = request.map_err(damaged)?.info.unwrap_or_default();
                self.cancel(&info).await?;
                let status = CancelStatus::Cancelled as i32;
                Ok(Acted::message(&CancelFlightInfoResult { status }))
            }
            "SetSessionOptions" => options::set(body, metadata),
            "GetSessionOptions" => options::get(metadata),
            "CloseSession" => options::close(),
            "BeginTransaction" | "EndTransaction" | "BeginSavepoint" | "EndSavepoint" => Err(
                unsupported("there are no transactions: every statement commits by itself"),
            ),
            "CreatePreparedSubstraitPlan" => {
                Err(unsupported("Substrait plans are not read; send SQL"))
            }
            other => Err(unsupported(format!(
                "there is no action '{other}'; ListActions names those there are"
            ))),
        }
    }

    async fn prepare(
        &self,
        request: ActionCreatePreparedStatementRequest,
        metadata: &MetadataMap,
    ) -> Result<ActionCreatePreparedStatementResult, QueryError> {
        command::no_transaction(request.transaction_id.as_deref())?;
        let prepared = Prepared {
            sql: request.query,
            session: CallSession::read(metadata)?.settings,
            parameters: None,
        };
        let handle = prepared.encode()?;
        let statement = Statement::new(prepared.sql, prepared.session, Origin::FlightSql);
        let description = self.service.describe(statement).await?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: handle,
            dataset_schema: schema_bytes(&sent_schema(description.schema))?,
            parameter_schema: schema_bytes(&description.parameters)?,
        })
    }

    async fn cancel(&self, info: &FlightInfo) -> Result<(), QueryError> {
        let endpoint = info.endpoint.first();
        let ticket = endpoint
            .and_then(|endpoint| endpoint.ticket.as_ref())
            .ok_or_else(|| user("the FlightInfo to cancel has no ticket"))?;
        match command::of_ticket(&ticket.ticket)? {
            Command::TicketStatementQuery(handle) => {
                let ticket = Ticket::decode(&handle.statement_handle)?;
                self.service.cancel(ticket.query).await
            }
            other => {
                let name = command::name(&other);
                Err(user(format!(
                    "the FlightInfo is of a {name}, not of a query"
                )))
            }
        }
    }
}

fn damaged(error: prost::DecodeError) -> QueryError {
    user(format!("the action's body is damaged: {error}"))
}
