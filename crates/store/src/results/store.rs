//! All results of a cluster.

use bytes::Bytes;
use futures::TryStreamExt;
use paceline_model::{Epoch, QueryId};
use std::time::Duration;

use super::index::{IndexRecord, RECORD_VERSION};
use super::{ResultError, ResultIndex, ResultReader, ResultWriter};
use crate::{Key, StateStore, StoreError, record};

/// The last segment of an index's name.
const INDEX: &str = "index";

/// How many objects are removed at a time.
const REMOVALS: usize = 8;

/// The durable results below one root. Cheap to clone.
///
/// Parts are larger than other state: give it a store whose
/// [`Limits`](crate::Limits) leave room for them.
#[derive(Debug, Clone)]
pub struct Results {
    store: StateStore,
}

impl Results {
    /// The results in a store.
    pub fn new(store: StateStore) -> Self {
        Results { store }
    }

    /// Begins to write a result, as the owner of that epoch. `schema` is kept in the index as it is.
    /// While the store is away, each write is repeated for as long as `patience` says.
    pub fn write(
        &self,
        query: QueryId,
        epoch: Epoch,
        schema: Bytes,
        patience: Duration,
    ) -> ResultWriter {
        ResultWriter::new(self.store.clone(), query, epoch, schema, patience)
    }

    /// Opens a result; none if no owner of that epoch has completed one, or it was removed.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot say.
    pub async fn open(
        &self,
        query: QueryId,
        epoch: Epoch,
    ) -> Result<Option<ResultReader>, StoreError> {
        let key = index_key(query, epoch);
        let Some(payload) = self.store.get(&key).await? else {
            return Ok(None);
        };
        let index = read_index(&self.store, &key, &payload)?;
        let store = self.store.clone();
        Ok(Some(ResultReader::new(store, query, epoch, index)))
    }

    /// Removes all that is stored of a query, at any epoch and with or without an index, and returns
    /// how many objects that were. What is written at the same time may be left: remove it again
    /// once the query has ended for everybody.
    ///
    /// # Errors
    /// [`ResultError`] if something may be left.
    pub async fn remove(&self, query: QueryId) -> Result<usize, ResultError> {
        let keys = self.store.list(&query_folder(query), None).await?;
        let removed = keys.len();
        // Without its index a result is gone; without a part of it, it would be damaged.
        let (indices, parts): (Vec<Key>, Vec<Key>) =
            keys.into_iter().partition(|key| key.name() == Some(INDEX));
        for keys in [indices, parts] {
            futures::stream::iter(keys.into_iter().map(Ok))
                .try_for_each_concurrent(
                    REMOVALS,
                    |key| async move { self.store.delete(&key).await },
                )
                .await?;
        }
        Ok(removed)
    }

    /// The queries of which anything is stored, complete or not, ascending.
    ///
    /// # Errors
    /// [`StoreError`] if the store does not answer with a whole listing.
    pub async fn queries(&self) -> Result<Vec<QueryId>, StoreError> {
        let folders = self.store.folders(&Key::new("results")).await?;
        let names = folders.iter().filter_map(Key::name);
        // What has no query's name is not of this crate's making.
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }
}

/// Reads what [`index_key`] names.
pub(super) fn read_index(
    store: &StateStore,
    key: &Key,
    payload: &[u8],
) -> Result<ResultIndex, StoreError> {
    let found: IndexRecord = record::decode(store, key, payload, RECORD_VERSION)?;
    Ok(found.index)
}

fn query_folder(query: QueryId) -> Key {
    Key::new("results").child(&query.to_string())
}

pub(super) fn index_key(query: QueryId, epoch: Epoch) -> Key {
    query_folder(query).numbered(epoch.0).child(INDEX)
}

pub(super) fn part_key(query: QueryId, epoch: Epoch, number: u64) -> Key {
    query_folder(query).numbered(epoch.0).numbered(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_frozen() {
        let query = QueryId::from_slice(&[7; 16]).unwrap();
        let folder = "results/07070707-0707-0707-0707-070707070707/00000000000000000002";
        let part = part_key(query, Epoch(2), 13);
        assert_eq!(part.to_string(), format!("{folder}/00000000000000000013"));
        let index = index_key(query, Epoch(2));
        assert_eq!(index.to_string(), format!("{folder}/index"));
    }
}
