//! `GetFlightInfo`, `GetSchema` and what a `DoGet` finds behind a ticket.

use arrow::datatypes::Schema;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::sql::{Command, CommandStatementQuery, ProstMessageExt, TicketStatementQuery};
use arrow_flight::{
    FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, SchemaResult,
    Ticket as FlightTicket,
};
use bytes::Bytes;
use paceline_model::QueryError;
use prost::Message;
use tonic::metadata::MetadataMap;

use super::prepared::Prepared;
use super::session::CallSession;
use super::stream::sent_schema;
use super::{FlightSql, bug, command, unsupported};
use crate::service::{Origin, ResultStream, Statement, Submitted};
use crate::ticket::Ticket;

/// Tells a client to use the connection that it has.
const REUSE_CONNECTION: &str = "arrow-flight-reuse-connection://?";

impl FlightSql {
    /// Starts what the descriptor asks for.
    pub(super) async fn flight_info(
        &self,
        descriptor: FlightDescriptor,
        metadata: &MetadataMap,
    ) -> Result<FlightInfo, QueryError> {
        let command = command::of_descriptor(&descriptor)?;
        let info = match self.statement(&command, metadata)? {
            Some(statement) => self.info_of_query(self.service.submit(statement).await?)?,
            None => self.info_of_metadata(&command)?,
        };
        Ok(info.with_descriptor(descriptor))
    }

    fn info_of_query(&self, submitted: Submitted) -> Result<FlightInfo, QueryError> {
        let handle = TicketStatementQuery {
            statement_handle: submitted.ticket.encode()?,
        };
        let mut endpoint = FlightEndpoint::new()
            .with_ticket(FlightTicket::new(handle.as_any().encode_to_vec()))
            .with_location(REUSE_CONNECTION);
        for location in self.service.locations() {
            endpoint = endpoint.with_location(location);
        }
        FlightInfo::new()
            .with_endpoint(endpoint)
            .with_app_metadata(submitted.query.to_string())
            .try_with_schema(&sent_schema(submitted.schema))
            .map_err(bug)
    }

    /// Metadata is looked up when its ticket is redeemed, by whoever redeems it.
    fn info_of_metadata(&self, command: &Command) -> Result<FlightInfo, QueryError> {
        let ticket = command.clone().into_any().encode_to_vec();
        let endpoint = FlightEndpoint::new()
            .with_ticket(FlightTicket::new(ticket))
            .with_location(REUSE_CONNECTION);
        FlightInfo::new()
            .with_endpoint(endpoint)
            .try_with_schema(&*self.metadata_schema(command)?)
            .map_err(bug)
    }

    /// What a statement would return, without running it.
    pub(super) async fn schema(
        &self,
        descriptor: &FlightDescriptor,
        metadata: &MetadataMap,
    ) -> Result<SchemaResult, QueryError> {
        let command = command::of_descriptor(descriptor)?;
        let schema = match self.statement(&command, metadata)? {
            Some(statement) => sent_schema(self.service.describe(statement).await?.schema),
            None => self.metadata_schema(&command)?,
        };
        let schema = schema_bytes(&schema)?;
        Ok(SchemaResult { schema })
    }

    /// The rows behind a ticket.
    pub(super) async fn rows(
        &self,
        ticket: &FlightTicket,
        metadata: &MetadataMap,
    ) -> Result<ResultStream, QueryError> {
        let command = command::of_ticket(&ticket.ticket)?;
        if let Command::TicketStatementQuery(handle) = &command {
            let ticket = Ticket::decode(&handle.statement_handle)?;
            return self.service.results(&ticket).await;
        }
        match self.statement(&command, metadata)? {
            Some(statement) => {
                let submitted = self.service.submit(statement).await?;
                self.service.results(&submitted.ticket).await
            }
            None => {
                let session = CallSession::read(metadata)?.settings;
                self.metadata_rows(command, session).await
            }
        }
    }

    /// The statement that a command asks to run; none if it asks for metadata.
    fn statement(
        &self,
        command: &Command,
        metadata: &MetadataMap,
    ) -> Result<Option<Statement>, QueryError> {
        match command {
            Command::CommandStatementQuery(query) => statement_of(query, metadata).map(Some),
            Command::CommandPreparedStatementQuery(query) => {
                let prepared = Prepared::decode(&query.prepared_statement_handle)?;
                Ok(Some(prepared.statement(CallSession::read(metadata)?)))
            }
            Command::CommandStatementSubstraitPlan(_) => {
                Err(unsupported("Substrait plans are not read; send SQL"))
            }
            _ => Ok(None),
        }
    }
}

fn statement_of(
    query: &CommandStatementQuery,
    metadata: &MetadataMap,
) -> Result<Statement, QueryError> {
    command::no_transaction(query.transaction_id.as_deref())?;
    let session = CallSession::read(metadata)?;
    let mut statement = Statement::new(&*query.query, session.settings, Origin::FlightSql);
    statement.idempotency_key = session.idempotency_key;
    Ok(statement)
}

/// The schema as an IPC message, which is how Flight carries one outside of a stream.
pub(super) fn schema_bytes(schema: &Schema) -> Result<Bytes, QueryError> {
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &options).try_into().map_err(bug)?;
    Ok(bytes)
}
