//! Reading a stored result, from any part on and any number of times.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use paceline_model::{Epoch, QueryId};

use super::store::part_key;
use super::{ResultError, ResultIndex, ResultPart};
use crate::StateStore;

/// How many parts are fetched at a time, so that the next one is there when it is asked for.
const AHEAD: usize = 2;

/// A result that is complete. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ResultReader {
    store: StateStore,
    query: QueryId,
    epoch: Epoch,
    index: Arc<ResultIndex>,
}

impl ResultReader {
    pub(super) fn new(store: StateStore, query: QueryId, epoch: Epoch, index: ResultIndex) -> Self {
        ResultReader {
            store,
            query,
            epoch,
            index: Arc::new(index),
        }
    }

    /// What is in it.
    pub fn index(&self) -> &ResultIndex {
        &self.index
    }

    /// One part, counted from 0 in the order of rows.
    ///
    /// # Errors
    /// [`ResultError`] if there is no such part, or it cannot be read.
    pub async fn part(&self, part: usize) -> Result<Bytes, ResultError> {
        let entry = self.entry(part)?;
        let key = part_key(self.query, self.epoch, entry.number);
        let found = self.store.get(&key).await?;
        let bytes = found.ok_or(ResultError::Removed {
            query: self.query,
            part,
        })?;
        if bytes.len() as u64 != entry.bytes {
            let reason = format!(
                "it has {} bytes, and {} by its index",
                bytes.len(),
                entry.bytes
            );
            return Err(self.store.corrupt(&key, reason).into());
        }
        Ok(bytes)
    }

    /// Parts in the order of rows, the next one fetched while one is looked at. Nothing follows an
    /// error.
    pub fn parts(self, parts: Range<usize>) -> BoxStream<'static, Result<Bytes, ResultError>> {
        let fetched = stream::iter(parts)
            .map(move |part| {
                let reader = self.clone();
                async move { reader.part(part).await }
            })
            .buffered(AHEAD);
        let mut failed = false;
        let until_failure = fetched.take_while(move |part| {
            let go_on = !failed;
            failed |= part.is_err();
            std::future::ready(go_on)
        });
        until_failure.boxed()
    }

    fn entry(&self, part: usize) -> Result<ResultPart, ResultError> {
        let entry = self.index.parts.get(part).copied();
        entry.ok_or(ResultError::NoSuchPart {
            query: self.query,
            part,
            parts: self.index.parts.len(),
        })
    }
}
