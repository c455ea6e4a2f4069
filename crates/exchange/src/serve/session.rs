//! One stream to one reader.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_flight::FlightData;
use bytes::Bytes;
use futures::FutureExt;
use paceline_model::{Attempt, OutputId, StageId, TaskId};
use paceline_proto::exchange;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};

use super::lanes::{Lane, Lanes};
use crate::error::{LostReason, panic_of, panic_text};
use crate::frame::{Encoded, Packing};
use crate::store::{Lookup, OpenFile, Output, OutputStore, Slot, Unreadable};

/// Batches up to this size are encoded on the spot; handing them over would cost more.
const SMALL_BYTES: u64 = 16 << 10;

type Outbound = mpsc::Sender<Result<FlightData, Status>>;

/// Sends what a request asks for, as far as credit goes.
pub(crate) struct Session {
    store: OutputStore,
    outputs: Vec<Option<Arc<Output>>>,
    /// Changes when any of the outputs may have grown.
    signal: Option<watch::Receiver<()>>,
    follow: bool,
    /// The request spans whole outputs, so others may ask for the same frames.
    whole: bool,
    packing: Packing,
    lanes: Lanes,
    file: OpenFile,
    outbound: Outbound,
}

/// Why a session ends.
enum End {
    /// All is sent, or the reader is gone.
    Quiet,
    Failed(Status),
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        End::Failed(status)
    }
}

impl Session {
    pub(crate) fn new(
        store: OutputStore,
        request: &exchange::Request,
        packing: Packing,
        lanes: Lanes,
        outbound: Outbound,
    ) -> Result<Self, Status> {
        let query = paceline_proto::query_id(&request.query)
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        let outputs = request.outputs.iter().map(|output| {
            store.get(&OutputId {
                query,
                stage: StageId(request.stage),
                task: TaskId(output.task),
                attempt: Attempt(output.attempt),
            })
        });
        let outputs: Vec<_> = outputs.collect();
        let (first, end) = (
            request.first_partition,
            request.first_partition.saturating_add(request.partitions),
        );
        Ok(Session {
            // Outputs of one stage share their signal as long as any of them lives.
            signal: outputs
                .iter()
                .flatten()
                .next()
                .map(|o| o.signal.subscribe()),
            whole: outputs
                .iter()
                .flatten()
                .all(|output| first <= output.range.first && output.range.end() <= end),
            follow: request.follow,
            packing,
            store,
            outputs,
            lanes,
            file: OpenFile::default(),
            outbound,
        })
    }

    pub(crate) async fn run(mut self, mut inbound: Streaming<FlightData>) {
        if let Err(End::Failed(status)) = self.serve(&mut inbound).await {
            tracing::debug!(%status, "exchange stream refused");
            let _ = self.outbound.send(Err(status)).await;
        }
    }

    async fn serve(&mut self, inbound: &mut Streaming<FlightData>) -> Result<(), End> {
        while !self.lanes.all_done() {
            // Before looking, so that a change after the look is noticed.
            if let Some(signal) = &mut self.signal {
                signal.mark_unchanged();
            }
            while let Some(index) = self.lanes.pop() {
                self.send_next(index).await?;
                // Credit that came meanwhile lets more lanes take turns.
                while let Some(message) = inbound.message().now_or_never() {
                    self.receive(message?)?;
                }
            }
            if !self.lanes.all_done() {
                self.wait(inbound).await?;
            }
        }
        Ok(())
    }

    /// Waits for credit, or for an output to grow.
    async fn wait(&mut self, inbound: &mut Streaming<FlightData>) -> Result<(), End> {
        self.file.close();
        let changed = async {
            match &mut self.signal {
                Some(signal) => {
                    let _ = signal.changed().await;
                }
                None => std::future::pending().await,
            }
        };
        // Cancel safety: a message that is half there stays with the stream, a change that was not
        // seen is seen the next time.
        tokio::select! {
            message = inbound.message() => {
                let message = message?;
                self.receive(message)
            }
            () = changed => {
                self.lanes.unblock();
                Ok(())
            }
            () = self.outbound.closed() => Err(End::Quiet),
        }
    }

    fn receive(&mut self, message: Option<FlightData>) -> Result<(), End> {
        let message = message.ok_or(End::Quiet)?;
        let credit = exchange::Credit::decode(message.app_metadata)
            .map_err(|e| Status::invalid_argument(format!("malformed credit: {e}")))?;
        Ok(self.lanes.add_credit(&credit)?)
    }

    /// Sends the next frame of a lane, and its end if that is known already.
    async fn send_next(&mut self, index: usize) -> Result<(), End> {
        let partition = self.lanes.partition(index);
        let mut lane = self.lanes.get(index);
        loop {
            match self.next(partition, &mut lane) {
                Ahead::Frame(output, slot) if lane.credit > 0 => {
                    self.send_frame(partition, &mut lane, &output, &slot)
                        .await?;
                    if lane.done || lane.credit > 0 {
                        return self.advance(index, lane);
                    }
                    // Without credit it is only looked whether this was the last one.
                }
                Ahead::Frame(..) => return self.advance(index, lane),
                Ahead::Nothing if lane.credit > 0 => {
                    self.lanes.block(index, lane);
                    return Ok(());
                }
                Ahead::Nothing => return self.advance(index, lane),
                Ahead::End => {
                    lane.done = true;
                    self.send_end(partition).await?;
                    return self.advance(index, lane);
                }
                Ahead::Lost(reason) => {
                    self.send_lost(partition, &mut lane, &reason).await?;
                    return self.advance(index, lane);
                }
            }
        }
    }

    fn advance(&mut self, index: usize, lane: Lane) -> Result<(), End> {
        self.lanes.advance(index, lane);
        Ok(())
    }

    /// What the lane is to be sent next; moves it on from outputs that have no more.
    fn next(&self, partition: u32, lane: &mut Lane) -> Ahead {
        loop {
            let output = match self.outputs.get(lane.output) {
                None => return Ahead::End,
                Some(None) => return Ahead::Lost(LostReason::Missing),
                Some(Some(output)) => output,
            };
            match output.lookup(partition, lane.frames, self.follow) {
                Lookup::Frame(slot) => return Ahead::Frame(Arc::clone(output), slot),
                Lookup::Wait => return Ahead::Nothing,
                Lookup::Lost(reason) => return Ahead::Lost(reason),
                Lookup::End => {
                    lane.output += 1;
                    lane.frames = 0;
                }
            }
        }
    }

    async fn send_frame(
        &mut self,
        partition: u32,
        lane: &mut Lane,
        output: &Arc<Output>,
        slot: &Slot,
    ) -> Result<(), End> {
        let encoded = match self.fetch(output, slot).await {
            Ok(encoded) => encoded,
            Err(Unreadable::Lost(reason)) => {
                return self.send_lost(partition, lane, &reason).await;
            }
            Err(Unreadable::Resource(detail)) => {
                return Err(Status::resource_exhausted(detail).into());
            }
        };
        let bytes = encoded.bytes.len() as u64;
        lane.credit -= i64::try_from(bytes).unwrap_or(i64::MAX);
        lane.frames += 1;
        let frame = exchange::Frame {
            partition,
            output: u32::try_from(lane.output).unwrap_or(u32::MAX),
            rows: encoded.rows,
            crc32: encoded.crc32,
            ..exchange::Frame::default()
        };
        self.send(&frame, encoded.bytes).await?;
        self.store.metrics().served(false, slot.tier(), bytes);
        Ok(())
    }

    /// The frame's bytes. Those on disk are sent as they lie there: the reader checks them.
    async fn fetch(&mut self, output: &Arc<Output>, slot: &Slot) -> Result<Encoded, Unreadable> {
        let frame = match slot {
            Slot::Disk(frame) => {
                let read = self.file.read(frame).await;
                let bytes = read.map_err(|fault| self.store.unreadable(output, fault))?;
                return Ok(Encoded {
                    bytes,
                    rows: frame.rows,
                    crc32: frame.crc32,
                });
            }
            Slot::Memory(frame) => Arc::clone(frame),
        };
        let (output, packing, keep) = (Arc::clone(output), self.packing, self.whole);
        let small = frame.used <= SMALL_BYTES;
        let encode = move || frame.encode(&output, packing, keep);
        let encoded = if small {
            let encoded = catch_unwind(AssertUnwindSafe(encode));
            encoded.map_err(|panic| panicked(&panic_text(panic.as_ref())))?
        } else {
            let encoded = tokio::task::spawn_blocking(encode).await;
            encoded.map_err(|error| match panic_of(error) {
                Some(text) => panicked(&text),
                None => Unreadable::Resource("the runtime is shutting down".to_string()),
            })?
        };
        // Only a type that Arrow cannot encode: trying again would not help, and neither would
        // another attempt; the reader's failure names the output and the reason.
        encoded.map_err(|e| {
            Unreadable::Lost(LostReason::Refused {
                detail: format!("it cannot be encoded: {e}"),
            })
        })
    }

    async fn send_lost(
        &mut self,
        partition: u32,
        lane: &mut Lane,
        reason: &LostReason,
    ) -> Result<(), End> {
        lane.done = true;
        let frame = exchange::Frame {
            partition,
            output: u32::try_from(lane.output).unwrap_or(u32::MAX),
            lost: Some(exchange::Lost {
                reason: reason.to_string(),
            }),
            ..exchange::Frame::default()
        };
        self.send(&frame, Bytes::new()).await
    }

    async fn send_end(&mut self, partition: u32) -> Result<(), End> {
        let frame = exchange::Frame {
            partition,
            end: true,
            ..exchange::Frame::default()
        };
        self.send(&frame, Bytes::new()).await
    }

    async fn send(&mut self, frame: &exchange::Frame, bytes: Bytes) -> Result<(), End> {
        let message = FlightData::new()
            .with_app_metadata(frame.encode_to_vec())
            .with_data_body(bytes);
        let sent = self.outbound.send(Ok(message)).await;
        sent.map_err(|_| End::Quiet)
    }
}

/// The reader is told, whose query names it; asked again, it would most likely panic again.
fn panicked(text: &str) -> Unreadable {
    Unreadable::Lost(LostReason::Refused {
        detail: format!("encoding it panicked: {text}"),
    })
}

/// What a lane is to be sent next.
enum Ahead {
    Frame(Arc<Output>, Slot),
    Nothing,
    End,
    Lost(LostReason),
}
