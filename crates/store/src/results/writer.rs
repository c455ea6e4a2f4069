//! Writing a result: parts as they come, the index as the commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use paceline_model::{Epoch, QueryId};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::index::{IndexRecord, RECORD_VERSION};
use super::store::{index_key, part_key, read_index};
use super::{ResultError, ResultIndex, ResultPart};
use crate::{Created, Key, StateStore, StoreError, record, request};

/// How many parts are on their way to the store at a time. No more than these are in memory.
const UNDER_WAY: usize = 4;

/// Writes one result. Dropped before [`finish`](Self::finish), it leaves parts that no index names,
/// which are no result; they go with [`Results::remove`](super::Results::remove).
///
/// An owner that has to begin again, at the same epoch, uses another writer. That one passes over
/// the numbers that are taken, so that parts of the first never get into the second's result.
#[derive(Debug)]
pub struct ResultWriter {
    parts: Arc<Parts>,
    schema: Bytes,
    given: usize,
    writing: JoinSet<Result<(usize, ResultPart), ResultError>>,
    /// By the order in which they were given, which is the order of rows.
    written: BTreeMap<usize, ResultPart>,
}

/// What the writes of parts share.
#[derive(Debug)]
struct Parts {
    store: StateStore,
    query: QueryId,
    epoch: Epoch,
    patience: Duration,
    /// The next number that this writer has not tried.
    next: AtomicU64,
}

impl ResultWriter {
    pub(super) fn new(
        store: StateStore,
        query: QueryId,
        epoch: Epoch,
        schema: Bytes,
        patience: Duration,
    ) -> Self {
        ResultWriter {
            parts: Arc::new(Parts {
                store,
                query,
                epoch,
                patience,
                next: AtomicU64::new(0),
            }),
            schema,
            given: 0,
            writing: JoinSet::new(),
            written: BTreeMap::new(),
        }
    }

    /// Hands over the next part. Waits only while as many as may be are on their way.
    ///
    /// # Errors
    /// [`ResultError`] if this or an earlier part could not be written: the result cannot become
    /// whole any more.
    ///
    /// # Cancel safety
    /// Dropped half way, the part was not taken.
    pub async fn write(&mut self, rows: u64, bytes: Bytes) -> Result<(), ResultError> {
        while self.writing.len() >= UNDER_WAY {
            self.settle_one().await?;
        }
        let (parts, position) = (Arc::clone(&self.parts), self.given);
        self.given += 1;
        self.writing.spawn(async move {
            let part = parts.create(rows, bytes).await?;
            Ok((position, part))
        });
        Ok(())
    }

    /// Waits until every part is there, and then makes them a result.
    ///
    /// Should an earlier writer of this epoch have come this far, the result is its own, and that is
    /// what is returned: a result that was completed never changes.
    ///
    /// # Errors
    /// [`ResultError`] if there is no result, or that cannot be found out.
    pub async fn finish(mut self) -> Result<ResultIndex, ResultError> {
        while !self.writing.is_empty() {
            self.settle_one().await?;
        }
        let index = ResultIndex::of(self.schema, self.written.into_values().collect());
        self.parts.commit(index).await
    }

    /// Waits for one of the writes under way.
    async fn settle_one(&mut self) -> Result<(), ResultError> {
        if let Some(ended) = self.writing.join_next().await {
            let query = self.parts.query;
            let stopped = |_: JoinError| ResultError::Stopped { query };
            let (position, part) = ended.map_err(stopped)??;
            self.written.insert(position, part);
        }
        Ok(())
    }
}

impl Parts {
    /// Creates a part under the first number that is free.
    async fn create(&self, rows: u64, bytes: Bytes) -> Result<ResultPart, ResultError> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let key = part_key(self.query, self.epoch, number);
            match self.create_patiently(&key, &bytes).await? {
                // The same bytes are there after a create whose outcome stayed unknown, and also if
                // an earlier writer had got to this very part: either way they are what they are.
                Created::Exists(there) if there != bytes => {}
                Created::Won | Created::Exists(_) => {
                    return Ok(ResultPart {
                        number,
                        rows,
                        bytes: bytes.len() as u64,
                    });
                }
            }
        }
    }

    async fn commit(&self, index: ResultIndex) -> Result<ResultIndex, ResultError> {
        let key = index_key(self.query, self.epoch);
        let record = record::encode(&IndexRecord {
            v: RECORD_VERSION,
            index: index.clone(),
        });
        match self.create_patiently(&key, &record).await? {
            Created::Won => Ok(index),
            Created::Exists(payload) => Ok(read_index(&self.store, &key, &payload)?),
        }
    }

    /// Repeats a create while the store is away. To repeat one whose outcome is unknown is safe here,
    /// because whoever finds the key taken looks at what is there.
    async fn create_patiently(&self, key: &Key, payload: &[u8]) -> Result<Created, StoreError> {
        let until = Instant::now() + self.patience;
        let mut retry = 0;
        loop {
            let error = match self.store.create(key, payload).await {
                Ok(created) => return Ok(created),
                Err(error) => error,
            };
            let passing = matches!(
                error,
                StoreError::Unavailable { .. } | StoreError::Unknown { .. }
            );
            retry += 1;
            let wait = request::backoff(retry);
            if !passing || Instant::now() + wait >= until {
                return Err(error);
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "before a create that failed is repeated"
            )]
            tokio::time::sleep(wait).await;
        }
    }
}
