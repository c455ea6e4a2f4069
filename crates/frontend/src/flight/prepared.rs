//! Prepared statements. The handle is the statement itself: nothing is kept here, so any scheduler
//! can run it, and closing one does nothing.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use bytes::Bytes;
use paceline_model::QueryError;
use prost::Message;

use super::session::CallSession;
use super::user;
use crate::parameters;
use crate::service::{Origin, Statement};
use crate::session::SessionSettings;

const VERSION: u32 = 1;

/// A statement that was prepared, with what was set and bound since.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prepared {
    pub(super) sql: String,
    pub(super) session: SessionSettings,
    pub(super) parameters: Option<RecordBatch>,
}

#[derive(Clone, PartialEq, Message)]
struct HandleMessage {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    sql: String,
    #[prost(btree_map = "string, string", tag = "3")]
    session: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "4")]
    parameters: Vec<FlightData>,
}

impl Prepared {
    pub(super) fn encode(&self) -> Result<Bytes, QueryError> {
        let message = HandleMessage {
            version: VERSION,
            sql: self.sql.clone(),
            session: self.session.clone().into_map(),
            parameters: parameters::encode_any(self.parameters.as_ref())?,
        };
        Ok(message.encode_to_vec().into())
    }

    pub(super) fn decode(handle: &[u8]) -> Result<Self, QueryError> {
        let message = HandleMessage::decode(handle).map_err(|e| invalid(&e.to_string()))?;
        if message.version != VERSION {
            let version = message.version;
            return Err(invalid(&format!(
                "it has version {version}, and this scheduler reads version {VERSION}"
            )));
        }
        Ok(Prepared {
            sql: message.sql,
            session: message.session.into(),
            parameters: parameters::decode_any(&message.parameters)?,
        })
    }

    /// The statement to run. What the call itself sets goes over what was set at preparation.
    pub(super) fn statement(self, call: CallSession) -> Statement {
        let mut session = self.session;
        session.merge(call.settings);
        let mut statement = Statement::new(self.sql, session, Origin::FlightSql);
        statement.parameters = self.parameters;
        statement.idempotency_key = call.idempotency_key;
        statement
    }
}

fn invalid(problem: &str) -> QueryError {
    user(format!(
        "this is no prepared statement handle of Paceline: {problem}; prepare the statement again"
    ))
}

#[cfg(test)]
mod tests {
    use paceline_model::ErrorClass;

    use super::*;

    #[test]
    fn a_handle_comes_back_whole() {
        let mut prepared = Prepared {
            sql: "SELECT $1".to_string(),
            session: [("schema".to_string(), "tpch".to_string())]
                .into_iter()
                .collect(),
            parameters: Some(parameters::tests::row()),
        };
        for _ in 0..2 {
            let handle = prepared.encode().unwrap();
            assert_eq!(Prepared::decode(&handle), Ok(prepared.clone()));
            prepared.parameters = None;
        }
    }

    #[test]
    fn garbage_is_refused() {
        for garbage in [&b""[..], b"garbage", b"\x08\x07"] {
            let error = Prepared::decode(garbage).unwrap_err();
            assert_eq!(error.class, ErrorClass::User);
        }
    }

    #[test]
    fn a_call_sets_over_the_preparation() {
        let settings = |value: &str| {
            let pair = ("schema".to_string(), value.to_string());
            [pair].into_iter().collect::<SessionSettings>()
        };
        let prepared = Prepared {
            sql: "SELECT 1".to_string(),
            session: settings("then"),
            parameters: None,
        };
        let call = CallSession {
            settings: settings("now"),
            idempotency_key: Some("k".to_string()),
        };
        let statement = prepared.statement(call);
        assert_eq!(statement.session.get("schema"), Some("now"));
        assert_eq!(statement.idempotency_key.as_deref(), Some("k"));
    }
}
