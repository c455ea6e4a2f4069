//! A result that is read part by part, and read on when a part had to be made again.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use paceline_model::{LostOutput, QueryError};

use super::Reading;
use super::ipc::from_ipc;
use super::remote::{ReadFailure, remote};
use crate::record::{Part, ResultState};
use crate::replay::{Delivered, Replay, changed};
use crate::shared::Shared;

/// Reads the parts of a result one after the other.
pub(super) struct Parts {
    shared: Arc<Shared>,
    reading: Reading,
    /// What is read; it outlives the query's stay at this scheduler.
    ready: ResultState,
    next_part: usize,
    version: u32,
    current: Option<Current>,
    /// Of the current part; earlier parts are not needed any more.
    delivered: Delivered,
    any: bool,
}

struct Current {
    batches: BoxStream<'static, Result<RecordBatch, ReadFailure>>,
    replay: Replay,
    /// Whether the part could be lost under the reader.
    remote: bool,
}

impl Parts {
    pub(super) fn new(shared: Arc<Shared>, reading: Reading, ready: ResultState) -> Self {
        Parts {
            shared,
            reading,
            ready,
            next_part: 0,
            version: 0,
            current: None,
            delivered: Delivered::default(),
            any: false,
        }
    }

    /// The next rows; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        loop {
            if self.current.is_none() && !self.open()? {
                self.reading.consumed();
                return Ok(None);
            }
            let Some(current) = &mut self.current else {
                continue;
            };
            match current.batches.next().await {
                Some(Ok(batch)) => {
                    let batch = current.replay.pass(batch)?;
                    if batch.num_rows() == 0 {
                        continue;
                    }
                    if current.remote {
                        self.delivered.add(&batch)?;
                    }
                    self.any = true;
                    return Ok(Some(batch));
                }
                None => {
                    current.replay.end()?;
                    self.current = None;
                    self.delivered = Delivered::default();
                    self.next_part += 1;
                }
                Some(Err(ReadFailure::Other(error))) => return Err(error),
                Some(Err(ReadFailure::Lost(lost))) => self.make_again(lost).await?,
            }
        }
    }

    /// False if there is no further part.
    fn open(&mut self) -> Result<bool, QueryError> {
        if let newer @ ResultState::Ready { .. } = self.reading.newest() {
            self.ready = newer;
        }
        let ResultState::Ready {
            version,
            valid_from,
            stage,
            parts,
        } = self.ready.clone()
        else {
            return Ok(false);
        };
        if self.any && valid_from > self.version {
            return Err(changed());
        }
        self.version = version;
        let Some(part) = parts.get(self.next_part) else {
            return Ok(false);
        };
        let batches = match part {
            Part::Inline(bytes) => stream::iter(from_ipc(bytes)?).map(Ok).boxed(),
            Part::Remote(location) => remote(
                &self.shared,
                self.reading.query,
                &self.reading.schema,
                stage,
                vec![location.clone()],
            )?,
        };
        self.current = Some(Current {
            batches,
            replay: Replay::of(self.delivered),
            remote: matches!(part, Part::Remote(_)),
        });
        Ok(true)
    }

    /// Has a lost part made again and waits for it.
    async fn make_again(&mut self, lost: LostOutput) -> Result<(), QueryError> {
        tracing::info!(query = %self.reading.query, ?lost, "a part of the result is lost");
        self.current = None;
        let moved_on = matches!(
            self.reading.newest(),
            ResultState::Ready { version, .. } if version > self.version
        );
        if !moved_on && !self.reading.driver.result_lost(self.reading.query, lost) {
            // Another scheduler drives it, for who asks there.
            return Err(changed());
        }
        match self.reading.after(self.version).await? {
            // The next owner makes it again, for who asks there.
            ResultState::Moved => Err(changed()),
            _ => Ok(()),
        }
    }
}
