//! One stream from one executor, with a lane for each partition.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use paceline_model::{PartitionRange, QueryId, StageId};
use paceline_proto::exchange;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};

use super::fault::Fault;
use super::lane::{Arrived, Lane, Taken};
use super::peers::Peers;
use crate::MOST_FRAME_BYTES;
use crate::error::LostReason;
use crate::metrics::{Counted, ExchangeMetrics};

/// What a link reads, and from where.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) query: QueryId,
    pub(crate) stage: StageId,
    pub(crate) outputs: Vec<exchange::OutputRef>,
    pub(crate) range: PartitionRange,
    pub(crate) follow: bool,
}

/// A stream that is opened when something is first wanted of it, and closed when all its lanes are,
/// or when this is dropped.
#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    peers: Peers,
    metrics: ExchangeMetrics,
    task: OnceLock<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    lanes: Vec<Lane>,
    open_lanes: AtomicUsize,
    /// Unbounded, but each message in it is credit for a frame that was read or a lane that was
    /// begun, and frames are bounded by credit.
    outbound: Mutex<Option<mpsc::UnboundedSender<FlightData>>>,
    failure: OnceLock<Fault>,
    unwanted: CancellationToken,
}

/// What came of waiting for a frame.
pub(crate) enum Next {
    Frame(Arrived),
    /// Nothing more of that output.
    End,
}

impl Link {
    pub(crate) fn new(target: Target, peers: Peers, metrics: ExchangeMetrics) -> Self {
        let lanes: Vec<Lane> = target.range.iter().map(|_| Lane::default()).collect();
        Link {
            shared: Arc::new(Shared {
                open_lanes: AtomicUsize::new(lanes.len()),
                lanes,
                target,
                outbound: Mutex::default(),
                failure: OnceLock::new(),
                unwanted: CancellationToken::new(),
            }),
            peers,
            metrics,
            task: OnceLock::new(),
        }
    }

    fn lane(&self, partition: u32) -> Option<&Lane> {
        self.shared.lane(partition)
    }

    /// Lets up to `window` bytes of the partition be here or on their way; opens the stream if need
    /// be.
    pub(crate) fn grant(&self, partition: u32, window: u64) {
        // Locked first, so that a stream that is just being opened begins with this credit or is
        // sent it, but not both.
        let outbound = self.shared.outbound.lock();
        let granted = self.lane(partition).and_then(|lane| lane.grant(window));
        let Some(bytes) = granted else { return };
        if let Some(outbound) = outbound.as_ref() {
            // Closed only if the stream broke; then the next one begins with this credit.
            let _ = outbound.send(credit(partition, bytes));
        }
        drop(outbound);
        self.task.get_or_init(|| {
            let shared = Arc::clone(&self.shared);
            let (peers, metrics) = (self.peers.clone(), self.metrics.clone());
            let runtime = peers.runtime();
            AbortOnDropHandle::new(runtime.spawn(shared.run(peers, metrics)))
        });
    }

    /// The next frame of a partition of the link's output number `output`. If this is dropped
    /// before it is ready, no frame is skipped.
    pub(crate) async fn next(&self, partition: u32, output: u32) -> Result<Next, Fault> {
        let Some(lane) = self.lane(partition) else {
            return Ok(Next::End);
        };
        loop {
            // Looked at before the lane: what arrived before the failure is still read.
            let failure = self.shared.failure.get().cloned();
            match lane.take(output) {
                Taken::Frame(frame) => return Ok(Next::Frame(frame)),
                Taken::End => return Ok(Next::End),
                Taken::Lost(detail) => return Err(LostReason::Refused { detail }.into()),
                Taken::Nothing => match failure {
                    Some(failure) => return Err(failure),
                    None => lane.changed().await,
                },
            }
        }
    }

    /// Nobody reads that partition any more.
    pub(crate) fn close(&self, partition: u32) {
        if self.lane(partition).is_some_and(Lane::close)
            && self.shared.open_lanes.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.shared.unwanted.cancel();
        }
    }
}

impl Shared {
    fn lane(&self, partition: u32) -> Option<&Lane> {
        let index = partition.checked_sub(self.target.range.first)?;
        self.lanes.get(index as usize)
    }

    async fn run(self: Arc<Self>, peers: Peers, metrics: ExchangeMetrics) {
        let _counted = Counted::new(&metrics.reading_streams);
        // Cancel safety: nothing is kept in either future; dropping the stream closes it.
        tokio::select! {
            () = self.unwanted.cancelled() => {}
            failure = self.read_all(&peers, &metrics) => {
                if let Err(failure) = failure {
                    let _ = self.failure.set(failure);
                }
                self.lanes.iter().for_each(Lane::wake);
            }
        }
        // The holder's side ends only when both directions are closed.
        *self.outbound.lock() = None;
    }

    /// Reads until every lane is done. A stream that breaks is opened once more, and again only if
    /// something arrived since.
    async fn read_all(&self, peers: &Peers, metrics: &ExchangeMetrics) -> Result<(), Fault> {
        let mut arrived = 0;
        let mut retried_at = None;
        loop {
            let broken = match self.read_stream(peers, metrics, &mut arrived).await {
                Ok(()) if self.lanes.iter().all(Lane::is_done) => return Ok(()),
                Ok(()) => self.unreachable("it ended the stream early"),
                Err(fault) => fault,
            };
            let passing = matches!(broken, Fault::Lost(LostReason::Unreachable { .. }));
            if !passing || retried_at == Some(arrived) {
                return Err(broken);
            }
            retried_at = Some(arrived);
            metrics.reconnects.inc();
            tracing::debug!(address = %self.target.address, ?broken, "exchange stream broke");
        }
    }

    async fn read_stream(
        &self,
        peers: &Peers,
        metrics: &ExchangeMetrics,
        arrived: &mut u64,
    ) -> Result<(), Fault> {
        let channel = peers
            .channel(&self.target.address)
            .map_err(|e| self.unreachable(&e.to_string()))?;
        let mut client =
            FlightServiceClient::new(channel).max_decoding_message_size(MOST_FRAME_BYTES);
        let outbound = UnboundedReceiverStream::new(self.open_outbound());
        let response = client.do_exchange(outbound).await;
        let mut stream = response.map_err(|s| self.fault(&s))?.into_inner();
        while let Some(message) = stream.message().await.map_err(|s| self.fault(&s))? {
            let length = message.data_body.len() as u64;
            self.arrive(message)?;
            *arrived += 1;
            metrics.received_bytes.inc_by(length);
            metrics.received_frames.inc();
        }
        Ok(())
    }

    /// What is sent over a new stream: the request, and the credit that is still due.
    fn open_outbound(&self) -> mpsc::UnboundedReceiver<FlightData> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut outbound = self.outbound.lock();
        // The receiver is here, so these cannot fail.
        let _ = sender.send(self.request());
        for (partition, lane) in self.target.range.iter().zip(&self.lanes) {
            if let Some(bytes) = lane.credit_anew() {
                let _ = sender.send(credit(partition, bytes));
            }
        }
        *outbound = Some(sender);
        receiver
    }

    fn request(&self) -> FlightData {
        let target = &self.target;
        let outputs = u32::try_from(target.outputs.len()).unwrap_or(u32::MAX);
        let lanes = target.range.iter().zip(&self.lanes);
        let request = exchange::Request {
            query: paceline_proto::query_bytes(target.query),
            stage: target.stage.0,
            outputs: target.outputs.clone(),
            first_partition: target.range.first,
            partitions: target.range.count,
            follow: target.follow,
            resume: lanes
                .filter_map(|(partition, lane)| lane.position(partition, outputs))
                .collect(),
        };
        let descriptor = FlightDescriptor::new_cmd(request.encode_to_vec());
        FlightData::new().with_descriptor(descriptor)
    }

    fn arrive(&self, message: FlightData) -> Result<(), Fault> {
        let frame = exchange::Frame::decode(message.app_metadata)
            .map_err(|e| self.protocol(&format!("it sent a malformed frame: {e}")))?;
        let partition = frame.partition;
        let lane = self
            .lane(partition)
            .ok_or_else(|| self.protocol(&format!("it sent partition {partition} unasked")))?;
        if lane.arrive(frame, message.data_body) {
            Ok(())
        } else {
            Err(self.protocol(&format!(
                "it sent more of partition {partition} than it may"
            )))
        }
    }

    fn fault(&self, status: &Status) -> Fault {
        let detail = status.message();
        match status.code() {
            Code::ResourceExhausted => Fault::Resource(detail.to_string()),
            Code::InvalidArgument
            | Code::Unimplemented
            | Code::OutOfRange
            | Code::Unauthenticated
            | Code::PermissionDenied => self.protocol(detail),
            code => self.unreachable(&format!("{code:?}: {detail}")),
        }
    }

    fn unreachable(&self, detail: &str) -> Fault {
        Fault::Lost(LostReason::Unreachable {
            address: self.target.address.clone(),
            detail: detail.to_string(),
        })
    }

    fn protocol(&self, detail: &str) -> Fault {
        Fault::Protocol {
            address: self.target.address.clone(),
            detail: detail.to_string(),
        }
    }
}

fn credit(partition: u32, bytes: u64) -> FlightData {
    let credit = exchange::Credit { partition, bytes };
    FlightData::new().with_app_metadata(credit.encode_to_vec())
}
