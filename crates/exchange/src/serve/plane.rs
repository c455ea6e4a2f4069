//! The Arrow Flight service.

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use paceline_proto::exchange;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::lanes::Lanes;
use super::session::Session;
use crate::MOST_FRAME_BYTES;
use crate::frame::Packing;
use crate::metrics::Counted;
use crate::store::OutputStore;

/// Requests and credits; a request of 100,000 outputs fits.
const MOST_REQUEST_BYTES: usize = 4 << 20;

/// Frames that are handed to the transport before one of them has left.
const FRAMES_AHEAD: usize = 2;

/// Serves the outputs of a store to other processes: `DoExchange` as described in
/// `paceline/exchange/v1/exchange.proto`, and nothing else.
#[derive(Debug, Clone)]
pub struct DataPlane {
    store: OutputStore,
    stop: CancellationToken,
}

impl DataPlane {
    /// A data plane for that store. Its streams end with the `stop`, also those that their readers leave
    /// alone; a server that is told to stop would wait for them.
    pub fn new(store: OutputStore, stop: CancellationToken) -> Self {
        DataPlane { store, stop }
    }

    /// The service, to be added to a tonic server. The server should have `TCP_NODELAY` on.
    pub fn into_server(self) -> FlightServiceServer<DataPlane> {
        FlightServiceServer::new(self)
            .max_decoding_message_size(MOST_REQUEST_BYTES)
            .max_encoding_message_size(MOST_FRAME_BYTES)
    }

    /// Between two processes of one machine bytes cost less to move than to compress. Both ends of
    /// such a connection have one address.
    fn packing<T>(&self, request: &Request<T>) -> Packing {
        let ends = request.remote_addr().zip(request.local_addr());
        let nearby = ends.is_some_and(|(reader, here)| reader.ip() == here.ip());
        if nearby && !self.store.compresses_nearby() {
            Packing::Plain
        } else {
            Packing::Compressed
        }
    }
}

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = BoxStream<'static, Result<T, Status>>;

fn refused<T>(what: &str) -> Answer<T> {
    Err(Status::unimplemented(format!(
        "{what} is not served here: this is an executor's data plane, which only executors and \
         schedulers use; send SQL to a scheduler's Flight SQL port"
    )))
}

#[tonic::async_trait]
impl FlightService for DataPlane {
    type HandshakeStream = Stream<HandshakeResponse>;
    type ListFlightsStream = Stream<FlightInfo>;
    type DoGetStream = Stream<FlightData>;
    type DoPutStream = Stream<PutResult>;
    type DoActionStream = Stream<arrow_flight::Result>;
    type ListActionsStream = Stream<ActionType>;
    type DoExchangeStream = Stream<FlightData>;

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Answer<Self::DoExchangeStream> {
        let packing = self.packing(&request);
        let mut inbound = request.into_inner();
        // Cancel safety: with the stop nothing is wanted of the stream any more.
        let first = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(Status::unavailable("this executor stops")),
            first = inbound.message() => first?,
        };
        let descriptor = first.and_then(|message| message.flight_descriptor);
        let command = descriptor
            .ok_or_else(|| Status::invalid_argument("the first message has no descriptor"))?
            .cmd;
        let request = exchange::Request::decode(command)
            .map_err(|e| Status::invalid_argument(format!("malformed request: {e}")))?;
        let lanes = Lanes::new(&request)?;
        let (sender, receiver) = mpsc::channel(FRAMES_AHEAD);
        let session = Session::new(self.store.clone(), &request, packing, lanes, sender)?;
        let counted = Counted::new(&self.store.metrics().serving_streams);
        let stop = self.stop.clone();
        // Ends by itself when either side of the stream is gone.
        tokio::spawn(async move {
            // Cancel safety: a session that is dropped ends the stream, which its reader takes for a loss.
            tokio::select! {
                () = stop.cancelled() => {}
                () = session.run(inbound) => {}
            }
            drop(counted);
        });
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<Self::HandshakeStream> {
        refused("Handshake")
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        refused("ListFlights")
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        refused("GetFlightInfo")
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        refused("PollFlightInfo")
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        refused("GetSchema")
    }

    async fn do_get(&self, _: Request<Ticket>) -> Answer<Self::DoGetStream> {
        refused("DoGet")
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        refused("DoPut")
    }

    async fn do_action(&self, _: Request<Action>) -> Answer<Self::DoActionStream> {
        refused("DoAction")
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        refused("ListActions")
    }
}
