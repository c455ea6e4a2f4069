//! The ticket: what a client holds of its query, and all that any scheduler needs to answer for it.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use bytes::Bytes;
use paceline_model::{CatalogVersion, ErrorClass, QueryError, QueryId, SchedulerId};
use prost::Message;

use crate::parameters;
use crate::session::SessionSettings;

/// The newest form of the ticket that this version writes and the only one it reads.
const VERSION: u32 = 1;

/// Names a query, wherever it runs. Opaque bytes to clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Ticket {
    /// The query.
    pub query: QueryId,
    /// The scheduler that accepted it, and whose journal tells what became of it.
    pub accepted_by: SchedulerId,
    /// The catalog version that it was planned with.
    pub catalog: CatalogVersion,
    /// With a synchronous read, what it takes to run it afresh, should it have been lost before it
    /// reached a journal. Without, the query is durable or changes something: it is never repeated.
    pub afresh: Option<Afresh>,
    /// The statement changed the catalog, before this was given out: its answer has no rows, and any
    /// scheduler may give it.
    pub made: bool,
}

/// A statement that only reads, with everything that its meaning depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Afresh {
    /// The text.
    pub sql: String,
    /// What the client had set.
    pub session: SessionSettings,
    /// The one row of values for its placeholders.
    pub parameters: Option<RecordBatch>,
}

#[derive(Clone, PartialEq, Message)]
struct TicketMessage {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "bytes", tag = "2")]
    query: Bytes,
    #[prost(string, tag = "3")]
    accepted_by: String,
    #[prost(uint64, tag = "4")]
    catalog: u64,
    #[prost(message, optional, tag = "5")]
    afresh: Option<AfreshMessage>,
    #[prost(bool, tag = "6")]
    made: bool,
}

#[derive(Clone, PartialEq, Message)]
struct AfreshMessage {
    #[prost(string, tag = "1")]
    sql: String,
    #[prost(btree_map = "string, string", tag = "2")]
    session: BTreeMap<String, String>,
    /// None, or the schema and the one row of the parameters.
    #[prost(message, repeated, tag = "3")]
    parameters: Vec<FlightData>,
}

impl Ticket {
    /// The ticket as clients hold it.
    ///
    /// # Errors
    /// A bug, if its parameters cannot be written.
    pub fn encode(&self) -> Result<Bytes, QueryError> {
        let afresh = match &self.afresh {
            None => None,
            Some(afresh) => Some(AfreshMessage {
                sql: afresh.sql.clone(),
                session: afresh.session.clone().into_map(),
                parameters: parameters::encode_any(afresh.parameters.as_ref())?,
            }),
        };
        let message = TicketMessage {
            version: VERSION,
            query: Bytes::copy_from_slice(&self.query.to_bytes()),
            accepted_by: self.accepted_by.to_string(),
            catalog: self.catalog.0,
            afresh,
            made: self.made,
        };
        Ok(message.encode_to_vec().into())
    }

    /// Reads what a client sent back.
    ///
    /// # Errors
    /// A user error that says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, QueryError> {
        let message = TicketMessage::decode(bytes).map_err(|e| invalid(&e.to_string()))?;
        if message.version != VERSION {
            let version = message.version;
            return Err(invalid(&format!(
                "it has version {version}, and this scheduler reads version {VERSION}"
            )));
        }
        let query = QueryId::from_slice(&message.query).map_err(|e| invalid(&e.to_string()))?;
        if message.accepted_by.is_empty() {
            return Err(invalid("it does not name a scheduler"));
        }
        let afresh = message.afresh.map(Afresh::read).transpose()?;
        Ok(Ticket {
            query,
            accepted_by: SchedulerId::new(message.accepted_by),
            catalog: CatalogVersion(message.catalog),
            afresh,
            made: message.made,
        })
    }
}

impl Afresh {
    fn read(message: AfreshMessage) -> Result<Self, QueryError> {
        Ok(Afresh {
            sql: message.sql,
            session: message.session.into(),
            parameters: parameters::decode_any(&message.parameters)?,
        })
    }
}

fn invalid(problem: &str) -> QueryError {
    QueryError::new(
        ErrorClass::User,
        format!("this is no ticket of Paceline: {problem}; use one from GetFlightInfo unchanged"),
    )
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            query: QueryId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001)),
            accepted_by: SchedulerId::new("scheduler-a"),
            catalog: CatalogVersion(9),
            afresh: Some(Afresh {
                sql: "SELECT $1, $2".to_string(),
                session: [("schema".to_string(), "tpch".to_string())]
                    .into_iter()
                    .collect(),
                parameters: Some(parameters::tests::row()),
            }),
            made: false,
        }
    }

    #[test]
    fn a_ticket_comes_back_whole() {
        let full = ticket();
        assert_eq!(Ticket::decode(&full.encode().unwrap()), Ok(full.clone()));
        let durable = Ticket {
            afresh: None,
            ..full
        };
        assert_eq!(
            Ticket::decode(&durable.encode().unwrap()),
            Ok(durable.clone())
        );
        let made = Ticket {
            made: true,
            ..durable
        };
        assert_eq!(Ticket::decode(&made.encode().unwrap()), Ok(made));
    }

    #[test]
    fn every_damaged_ticket_is_refused_or_read_but_never_panics() {
        let bytes = ticket().encode().unwrap();
        for length in 0..bytes.len() {
            let _ = Ticket::decode(&bytes[..length]);
        }
        for position in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.to_vec();
                damaged[position] ^= flip;
                let _ = Ticket::decode(&damaged);
            }
        }
        for garbage in [&b""[..], b"garbage", b"\x08\x63"] {
            let error = Ticket::decode(garbage).unwrap_err();
            assert_eq!(error.class, ErrorClass::User);
        }
    }
}
