//! What a client has set for its statements.

use std::collections::BTreeMap;

use paceline_model::{ErrorClass, QueryError};
use serde::{Deserialize, Serialize};

/// The settings of a session, by name: `catalog`, `schema`, `timeout` (as `30s`) and any
/// `datafusion.…` option. They travel with each statement and in each ticket, so that no scheduler
/// has to remember a session. Which names exist is the planner's to say; it refuses unknown ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionSettings(BTreeMap<String, String>);

impl SessionSettings {
    /// The most settings that one session may have.
    pub const MAX: usize = 256;

    /// The value of one setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets one; the last value counts.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// Forgets one.
    pub fn unset(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over every setting of `other`, over one's own.
    pub fn merge(&mut self, other: SessionSettings) {
        self.0.extend(other.0);
    }

    /// The settings as the map that tickets carry.
    pub fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }

    /// Adds what one `x-paceline-settings` header says: `name=value` pairs between semicolons.
    ///
    /// # Errors
    /// A user error that names the pair that is none.
    pub fn merge_header(&mut self, text: &str) -> Result<(), QueryError> {
        for pair in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                let message = format!(
                    "'{pair}' in the header {SETTINGS_HEADER} is no setting: write name=value, \
                     several of them between semicolons"
                );
                QueryError::new(ErrorClass::User, message)
            })?;
            self.set(name.trim(), value.trim());
        }
        if self.0.len() > Self::MAX {
            let message = format!("a session has at most {} settings", Self::MAX);
            return Err(QueryError::new(ErrorClass::User, message));
        }
        Ok(())
    }
}

impl From<BTreeMap<String, String>> for SessionSettings {
    fn from(map: BTreeMap<String, String>) -> Self {
        SessionSettings(map)
    }
}

impl FromIterator<(String, String)> for SessionSettings {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(settings: I) -> Self {
        SessionSettings(settings.into_iter().collect())
    }
}

/// The header that makes a repeated statement the same query, over HTTP and gRPC alike.
pub(crate) const IDEMPOTENCY_HEADER: &str = "idempotency-key";

/// The longest idempotency key.
const MAX_KEY_BYTES: usize = 256;

/// The key that a client gave its statement.
///
/// # Errors
/// A user error if it is none: all who sent nothing would share one query.
pub(crate) fn idempotency_key(key: &str) -> Result<String, QueryError> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        let message = format!(
            "the header {IDEMPOTENCY_HEADER} must have 1 to {MAX_KEY_BYTES} bytes, not {}",
            key.len()
        );
        return Err(QueryError::new(ErrorClass::User, message));
    }
    Ok(key.to_string())
}

/// The header that carries settings, over HTTP and gRPC alike.
pub(crate) const SETTINGS_HEADER: &str = "x-paceline-settings";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_adds_its_pairs() {
        let mut session = SessionSettings::default();
        session.set("schema", "old");
        session
            .merge_header(" schema = new ; datafusion.execution.batch_size=17;; ")
            .unwrap();
        assert_eq!(session.get("schema"), Some("new"));
        assert_eq!(session.get("datafusion.execution.batch_size"), Some("17"));
        assert_eq!(session.iter().count(), 2);
    }

    #[test]
    fn what_is_no_pair_is_named() {
        let error = SessionSettings::default()
            .merge_header("a=1;nonsense")
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::User);
        assert!(error.message.contains("'nonsense'"), "{error}");
    }

    #[test]
    fn a_key_is_neither_empty_nor_endless() {
        let longest = "k".repeat(MAX_KEY_BYTES);
        assert_eq!(idempotency_key(&longest).as_ref(), Ok(&longest));
        for key in [String::new(), longest + "k"] {
            let error = idempotency_key(&key).unwrap_err();
            assert_eq!(error.class, ErrorClass::User);
            assert!(error.message.contains(IDEMPOTENCY_HEADER), "{error}");
        }
    }

    #[test]
    fn settings_are_bounded() {
        let text: String = (0..=SessionSettings::MAX)
            .map(|n| format!("k{n}=v;"))
            .collect();
        assert!(SessionSettings::default().merge_header(&text).is_err());
    }
}
