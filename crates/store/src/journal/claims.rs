//! The creates that decide between schedulers: who adopted a query, who drives a submitted statement,
//! and how it ended.

use paceline_model::{Epoch, QueryError, QueryId, QueryState, SchedulerId};
use serde::{Deserialize, Serialize};

use super::JournalMetrics;
use crate::{Created, Key, StateStore, StoreError, record};

const RECORD_VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct ClaimRecord {
    v: u32,
    by: SchedulerId,
}

/// The one outcome of a submitted or writing statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// Finished, failed or cancelled.
    pub state: QueryState,
    /// Who says so.
    pub by: SchedulerId,
    /// At which epoch.
    pub epoch: Epoch,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<QueryError>,
    /// Where its result lies, in the words of whoever wrote it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub result: serde_json::Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct EndingRecord {
    v: u32,
    #[serde(flatten)]
    ending: Ending,
}

/// Claims on queries. All are created once and never changed.
#[derive(Debug, Clone)]
pub struct Claims {
    store: StateStore,
    metrics: JournalMetrics,
}

impl Claims {
    /// The claims of the store's cluster.
    pub fn new(store: StateStore, metrics: JournalMetrics) -> Self {
        Claims { store, metrics }
    }

    /// Claims an adoption for `me`, whose journal must hold it durably by now, and returns whom the
    /// claim names.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be found out; asking again is harmless.
    pub async fn adopt(
        &self,
        query: QueryId,
        epoch: Epoch,
        me: &SchedulerId,
    ) -> Result<SchedulerId, StoreError> {
        let holder = self.claim(&owner_key(query, epoch), me).await;
        let outcome = match &holder {
            Ok(holder) if holder == me => "won",
            Ok(_) => "lost",
            Err(_) => "unknown",
        };
        self.metrics.claims.with_label_values(&[outcome]).inc();
        holder
    }

    /// Whom the claim of an epoch names, if anybody made it.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot say.
    pub async fn adopter(
        &self,
        query: QueryId,
        epoch: Epoch,
    ) -> Result<Option<SchedulerId>, StoreError> {
        self.read(&owner_key(query, epoch)).await
    }

    /// Claims a submitted statement for `me`, whose journal must hold it durably by now, and returns
    /// whom the claim names.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be found out; asking again is harmless.
    pub async fn submit(
        &self,
        query: QueryId,
        me: &SchedulerId,
    ) -> Result<SchedulerId, StoreError> {
        self.claim(&query_key(query, "submitted"), me).await
    }

    /// Claims a submitted statement for `holder`, whose sealed journal holds it, unless it is claimed, and
    /// returns whom the claim names. Nearly always that is there, and a look costs less than a create that
    /// comes too late.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be found out; asking again is harmless.
    pub async fn complete_submission(
        &self,
        query: QueryId,
        holder: &SchedulerId,
    ) -> Result<SchedulerId, StoreError> {
        match self.submitter(query).await? {
            Some(by) => Ok(by),
            None => self.submit(query, holder).await,
        }
    }

    /// Who accepted a submitted statement, if it was.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot say.
    pub async fn submitter(&self, query: QueryId) -> Result<Option<SchedulerId>, StoreError> {
        self.read(&query_key(query, "submitted")).await
    }

    /// Gives a statement its outcome, unless it has one, and returns the one it has.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be found out; asking again is harmless.
    pub async fn finish(&self, query: QueryId, ending: &Ending) -> Result<Ending, StoreError> {
        let key = Self::outcome_key(query);
        let body = record::encode(&EndingRecord {
            v: RECORD_VERSION,
            ending: ending.clone(),
        });
        match self.store.create(&key, &body).await? {
            Created::Won => Ok(ending.clone()),
            Created::Exists(payload) => self.ending(&key, &payload),
        }
    }

    /// The outcome of a statement, if it has one.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot say.
    pub async fn outcome(&self, query: QueryId) -> Result<Option<Ending>, StoreError> {
        let key = Self::outcome_key(query);
        match self.store.get(&key).await? {
            Some(payload) => self.ending(&key, &payload).map(Some),
            None => Ok(None),
        }
    }

    fn ending(&self, key: &Key, payload: &[u8]) -> Result<Ending, StoreError> {
        let found: EndingRecord = record::decode(&self.store, key, payload, RECORD_VERSION)?;
        Ok(found.ending)
    }

    async fn claim(&self, key: &Key, me: &SchedulerId) -> Result<SchedulerId, StoreError> {
        let body = record::encode(&ClaimRecord {
            v: RECORD_VERSION,
            by: me.clone(),
        });
        match self.store.create(key, &body).await? {
            Created::Won => Ok(me.clone()),
            Created::Exists(payload) => self.holder(key, &payload),
        }
    }

    async fn read(&self, key: &Key) -> Result<Option<SchedulerId>, StoreError> {
        match self.store.get(key).await? {
            Some(payload) => self.holder(key, &payload).map(Some),
            None => Ok(None),
        }
    }

    fn holder(&self, key: &Key, payload: &[u8]) -> Result<SchedulerId, StoreError> {
        let found: ClaimRecord = record::decode(&self.store, key, payload, RECORD_VERSION)?;
        Ok(found.by)
    }
}

impl Claims {
    /// Where a statement's outcome is, if it has one.
    pub(crate) fn outcome_key(query: QueryId) -> Key {
        query_key(query, "finished")
    }
}

fn owner_key(query: QueryId, epoch: Epoch) -> Key {
    let folder = Key::new("owners").child(&query.to_string());
    folder.numbered(epoch.0)
}

fn query_key(query: QueryId, what: &str) -> Key {
    Key::new("queries").child(&query.to_string()).child(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_records_are_frozen() {
        let claim = ClaimRecord {
            v: RECORD_VERSION,
            by: SchedulerId::new("s1"),
        };
        assert_eq!(record::encode(&claim), &br#"{"v":1,"by":"s1"}"#[..]);
        let ending = EndingRecord {
            v: RECORD_VERSION,
            ending: Ending {
                state: QueryState::Finished,
                by: SchedulerId::new("s1"),
                epoch: Epoch(2),
                error: None,
                result: serde_json::json!({"rows": 3}),
            },
        };
        let golden = br#"{"v":1,"state":"finished","by":"s1","epoch":2,"result":{"rows":3}}"#;
        assert_eq!(record::encode(&ending), &golden[..]);
    }

    #[test]
    fn names_are_frozen() {
        let query = QueryId::from_slice(&[7; 16]).unwrap();
        assert_eq!(
            owner_key(query, Epoch(2)).to_string(),
            "owners/07070707-0707-0707-0707-070707070707/00000000000000000002"
        );
        assert_eq!(
            query_key(query, "finished").to_string(),
            "queries/07070707-0707-0707-0707-070707070707/finished"
        );
    }
}
