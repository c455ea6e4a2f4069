use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightInfo;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use paceline_model::QueryId;
use tonic::transport::{Channel, Endpoint};

use super::ClientError;

/// A connection to one scheduler's Flight SQL port.
#[derive(Debug)]
pub struct Flight {
    address: String,
    client: FlightSqlServiceClient<Channel>,
}

/// A statement that was accepted.
#[derive(Debug, Clone)]
pub struct Started {
    /// The query, if the server names it.
    pub query: Option<QueryId>,
    /// The columns of the result to come.
    pub schema: SchemaRef,
    info: FlightInfo,
}

/// A whole result.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

impl Answer {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

impl Flight {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// If nobody answers there.
    pub async fn connect(address: &str) -> Result<Flight, ClientError> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| {
            ClientError::Address {
                address: address.to_string(),
            }
        })?;
        let channel = endpoint
            .tcp_nodelay(true)
            .connect()
            .await
            .map_err(|error| ClientError::Unreachable {
                address: address.to_string(),
                reason: std::error::Error::source(&error)
                    .map_or(error.to_string(), |e| e.to_string()),
            })?;
        let mut client = FlightSqlServiceClient::new(channel);
        // A server may put as much into a message as it likes; the memory is this client's own.
        let unlimited = client.inner().clone().max_decoding_message_size(usize::MAX);
        *client.inner_mut() = unlimited;
        Ok(Flight {
            address: address.to_string(),
            client,
        })
    }

    /// Hands in a statement. Its result may not exist yet.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn start(&mut self, sql: &str) -> Result<Started, ClientError> {
        let info = self
            .client
            .execute(sql.to_string(), None)
            .await
            .map_err(|error| ClientError::flight(&self.address, error))?;
        let query = std::str::from_utf8(&info.app_metadata)
            .ok()
            .and_then(|text| text.parse().ok());
        let schema = info
            .clone()
            .try_decode_schema()
            .map_err(|error| ClientError::flight(&self.address, error.into()))?;
        Ok(Started {
            query,
            schema: schema.into(),
            info,
        })
    }

    /// The rows of a started statement, as they come.
    ///
    /// # Errors
    /// Why the query failed, if that is known by then.
    pub async fn rows(
        &mut self,
        started: &Started,
    ) -> Result<FlightRecordBatchStream, ClientError> {
        let ticket = started.info.endpoint.first().and_then(|e| e.ticket.clone());
        let ticket = ticket.ok_or_else(|| ClientError::Unintelligible {
            address: self.address.clone(),
            reason: "the result has no ticket".to_string(),
        })?;
        self.client
            .do_get(ticket)
            .await
            .map_err(|error| ClientError::flight(&self.address, error))
    }

    /// All rows of a started statement.
    ///
    /// # Errors
    /// Why the query failed.
    pub async fn finish(&mut self, started: Started) -> Result<Answer, ClientError> {
        let mut rows = self.rows(&started).await?;
        let mut batches = Vec::new();
        while let Some(batch) = rows
            .try_next()
            .await
            .map_err(|error| ClientError::flight(&self.address, error))?
        {
            batches.push(batch);
        }
        let schema = rows.schema().cloned().unwrap_or(started.schema);
        Ok(Answer { schema, batches })
    }

    /// Runs a statement to its end.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn run(&mut self, sql: &str) -> Result<Answer, ClientError> {
        let started = self.start(sql).await?;
        self.finish(started).await
    }
}
