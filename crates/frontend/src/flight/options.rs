//! The session actions of Flight. `arrow-flight` has no types for their messages, so that the parts
//! that matter here are declared by hand, after Flight.proto.

use std::collections::BTreeMap;

use paceline_model::QueryError;
use prost::{Message, Oneof};
use tonic::metadata::MetadataMap;

use super::action::Acted;
use super::session::{cookie, read_cookie};
use super::user;
use crate::session::SessionSettings;

#[derive(Clone, PartialEq, Message)]
struct OptionValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Truth(bool),
    #[prost(sfixed64, tag = "3")]
    Integer(i64),
    #[prost(double, tag = "4")]
    Float(f64),
}

/// `SetSessionOptionsRequest`, and `GetSessionOptionsResult` alike.
#[derive(Clone, PartialEq, Message)]
struct SessionOptions {
    #[prost(btree_map = "string, message", tag = "1")]
    options: BTreeMap<String, OptionValue>,
}

/// `SetSessionOptionsResult`: the errors by name, and there are none.
#[derive(Clone, PartialEq, Message)]
struct OptionsSet {}

#[derive(Clone, PartialEq, Message)]
struct SessionClosed {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `CloseSessionResult.Status.CLOSED`.
const CLOSED: i32 = 1;

/// Adds to the session that the call's cookie holds; an option without a value is unset.
pub(super) fn set(body: &[u8], metadata: &MetadataMap) -> Result<Acted, QueryError> {
    let request = SessionOptions::decode(body)
        .map_err(|e| user(format!("the session options cannot be read: {e}")))?;
    let mut settings = read_cookie(metadata)?;
    for (name, value) in request.options {
        match value.value {
            Some(Value::Text(text)) => settings.set(name, text),
            Some(Value::Truth(truth)) => settings.set(name, truth.to_string()),
            Some(Value::Integer(number)) => settings.set(name, number.to_string()),
            Some(Value::Float(number)) => settings.set(name, number.to_string()),
            None => settings.unset(&name),
        }
    }
    Ok(Acted {
        cookie: Some(cookie(settings)?),
        ..Acted::message(&OptionsSet {})
    })
}

/// The options that the call's cookie holds.
pub(super) fn get(metadata: &MetadataMap) -> Result<Acted, QueryError> {
    let value = |text: &str| OptionValue {
        value: Some(Value::Text(text.to_string())),
    };
    let options = read_cookie(metadata)?
        .iter()
        .map(|(name, text)| (name.to_string(), value(text)))
        .collect();
    Ok(Acted::message(&SessionOptions { options }))
}

/// Empties the cookie.
pub(super) fn close() -> Result<Acted, QueryError> {
    Ok(Acted {
        cookie: Some(cookie(SessionSettings::default())?),
        ..Acted::message(&SessionClosed { status: CLOSED })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(options: &[(&str, Option<Value>)], cookie: Option<&Acted>) -> (Vec<u8>, MetadataMap) {
        let options = options
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    OptionValue {
                        value: value.clone(),
                    },
                )
            })
            .collect();
        let mut metadata = MetadataMap::new();
        if let Some(cookie) = cookie.and_then(|acted| acted.cookie.clone()) {
            metadata.insert("cookie", cookie);
        }
        (SessionOptions { options }.encode_to_vec(), metadata)
    }

    #[test]
    fn options_are_kept_in_the_cookie_and_closed_with_it() {
        let (body, metadata) = asked(
            &[
                ("catalog", Some(Value::Text("lake".to_string()))),
                ("datafusion.execution.batch_size", Some(Value::Integer(17))),
            ],
            None,
        );
        let first = set(&body, &metadata).unwrap();
        let (body, metadata) = asked(&[("catalog", None)], Some(&first));
        let second = set(&body, &metadata).unwrap();

        let (_, metadata) = asked(&[], Some(&second));
        let settings = read_cookie(&metadata).unwrap();
        assert_eq!(settings.get("catalog"), None);
        assert_eq!(settings.get("datafusion.execution.batch_size"), Some("17"));
        let answer = SessionOptions::decode(get(&metadata).unwrap().body.unwrap()).unwrap();
        assert_eq!(answer.options.len(), 1);

        let (_, metadata) = asked(&[], Some(&close().unwrap()));
        assert!(read_cookie(&metadata).unwrap().is_empty());
    }

    #[test]
    fn damage_is_refused() {
        assert!(set(b"\xff\xff", &MetadataMap::new()).is_err());
    }
}
