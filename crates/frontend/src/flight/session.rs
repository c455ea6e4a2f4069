//! The session of a call: what its headers and its cookie say.
//!
//! Flight's session actions are answered with a cookie that *is* the session, so that no scheduler
//! has to remember one. Clients without cookies set headers instead.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use paceline_model::QueryError;
use prost::Message;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use super::{bug, user};
use crate::session::{IDEMPOTENCY_HEADER, SETTINGS_HEADER, SessionSettings, idempotency_key};

const COOKIE: &str = "paceline_session";
/// What most clients accept of a cookie.
const MAX_COOKIE_BYTES: usize = 4096;

/// What a call says of its session.
#[derive(Debug, Default)]
pub(super) struct CallSession {
    pub(super) settings: SessionSettings,
    pub(super) idempotency_key: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct CookieMessage {
    #[prost(btree_map = "string, string", tag = "1")]
    settings: BTreeMap<String, String>,
}

impl CallSession {
    /// Reads cookie and headers; headers go over the cookie.
    pub(super) fn read(metadata: &MetadataMap) -> Result<Self, QueryError> {
        let mut settings = read_cookie(metadata)?;
        for value in metadata.get_all(SETTINGS_HEADER) {
            settings.merge_header(text(value, SETTINGS_HEADER)?)?;
        }
        let idempotency_key = match metadata.get(IDEMPOTENCY_HEADER) {
            Some(value) => Some(idempotency_key(text(value, IDEMPOTENCY_HEADER)?)?),
            None => None,
        };
        Ok(CallSession {
            settings,
            idempotency_key,
        })
    }
}

/// The settings that the call's cookie holds.
pub(super) fn read_cookie(metadata: &MetadataMap) -> Result<SessionSettings, QueryError> {
    let mut settings = SessionSettings::default();
    for header in metadata.get_all("cookie") {
        for cookie in text(header, "cookie")?.split(';') {
            let Some((COOKIE, value)) = cookie.trim().split_once('=') else {
                continue;
            };
            let damaged = || user("the session cookie is damaged; open a new connection");
            let value = value.trim_matches('"');
            let bytes = BASE64_URL_SAFE_NO_PAD
                .decode(value)
                .map_err(|_| damaged())?;
            let message = CookieMessage::decode(&*bytes).map_err(|_| damaged())?;
            settings.merge(message.settings.into());
        }
    }
    Ok(settings)
}

/// The cookie that holds these settings; an empty one if there are none.
pub(super) fn cookie(settings: SessionSettings) -> Result<MetadataValue<Ascii>, QueryError> {
    let message = CookieMessage {
        settings: settings.into_map(),
    };
    let value = BASE64_URL_SAFE_NO_PAD.encode(message.encode_to_vec());
    if value.len() > MAX_COOKIE_BYTES {
        return Err(user(
            "the settings of this session are too long for a cookie; set fewer, or send them as \
             headers with each statement",
        ));
    }
    format!("{COOKIE}={value}; Path=/").parse().map_err(bug)
}

fn text<'v>(value: &'v MetadataValue<Ascii>, header: &str) -> Result<&'v str, QueryError> {
    value
        .to_str()
        .map_err(|_| user(format!("the header {header} is not plain text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> SessionSettings {
        pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect()
    }

    #[test]
    fn a_cookie_holds_the_session_and_headers_go_over_it() {
        let kept = settings(&[("catalog", "lake"), ("schema", "old")]);
        let set = cookie(kept).unwrap();
        let pair = set.to_str().unwrap().split(';').next().unwrap().to_string();

        let mut metadata = MetadataMap::new();
        metadata.insert("cookie", format!("other=1; {pair}").parse().unwrap());
        metadata.insert(SETTINGS_HEADER, "schema=new".parse().unwrap());
        metadata.insert(IDEMPOTENCY_HEADER, "k-1".parse().unwrap());
        let call = CallSession::read(&metadata).unwrap();
        assert_eq!(
            call.settings,
            settings(&[("catalog", "lake"), ("schema", "new")])
        );
        assert_eq!(call.idempotency_key.as_deref(), Some("k-1"));
    }

    #[test]
    fn an_empty_key_is_refused() {
        let mut metadata = MetadataMap::new();
        metadata.insert(IDEMPOTENCY_HEADER, "".parse().unwrap());
        assert!(CallSession::read(&metadata).is_err());
    }

    #[test]
    fn damage_is_refused() {
        for damaged in ["paceline_session=!", "paceline_session=____"] {
            let mut metadata = MetadataMap::new();
            metadata.insert("cookie", damaged.parse().unwrap());
            assert!(CallSession::read(&metadata).is_err(), "{damaged}");
        }
        assert!(cookie(settings(&[("a", &"x".repeat(5000))])).is_err());
    }
}
