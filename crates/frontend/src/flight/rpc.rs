//! The ten calls of Arrow Flight, each handed on to where it is answered.

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::stream::{self, BoxStream, StreamExt};
use paceline_model::QueryError;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::{FlightSql, action, unsupported};
use crate::metrics::{Protocol, RequestTimer};
use crate::status::to_status;

type Answers<T> = BoxStream<'static, Result<T, Status>>;

impl FlightSql {
    pub(super) fn timer(&self, endpoint: &'static str) -> RequestTimer {
        self.metrics.request(Protocol::Flight, endpoint)
    }
}

/// Ends the request: its outcome to the metrics, its error to the client.
fn answer<T>(mut timer: RequestTimer, result: Result<T, QueryError>) -> Result<T, Status> {
    timer.ended(&result);
    result.map_err(|error| to_status(&error))
}

fn one<T: Send + 'static>(answer: T) -> Answers<T> {
    stream::once(async { Ok(answer) }).boxed()
}

#[tonic::async_trait]
impl FlightService for FlightSql {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    /// Everybody is let in as nobody in particular. Clients that authenticate want a token back.
    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let wants_token = request.metadata().contains_key("authorization");
        let mut response = Response::new(one(HandshakeResponse::default()));
        if wants_token {
            let token = MetadataValue::from_static("Bearer anonymous");
            response.metadata_mut().insert("authorization", token);
        }
        Ok(response)
    }

    async fn list_flights(
        &self,
        _: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(refused(
            "ListFlights is not part of Flight SQL; ask GetTables for the tables",
        ))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let timer = self.timer("get_flight_info");
        let (metadata, _, descriptor) = request.into_parts();
        let result = self.flight_info(descriptor, &metadata).await;
        answer(timer, result).map(Response::new)
    }

    /// The query is on its way and its ticket good at once, so there is never a second poll.
    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        let timer = self.timer("poll_flight_info");
        let (metadata, _, descriptor) = request.into_parts();
        let result = self.flight_info(descriptor, &metadata).await;
        answer(timer, result).map(|info| Response::new(PollInfo::new().with_info(info)))
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let timer = self.timer("get_schema");
        let (metadata, _, descriptor) = request.into_parts();
        let result = self.schema(&descriptor, &metadata).await;
        answer(timer, result).map(Response::new)
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let mut timer = self.timer("do_get");
        let (metadata, _, ticket) = request.into_parts();
        match self.rows(&ticket, &metadata).await {
            Ok(result) => Ok(Response::new(self.send(result, timer))),
            Err(error) => {
                timer.failed(error.class);
                Err(to_status(&error))
            }
        }
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let timer = self.timer("do_put");
        let (metadata, _, messages) = request.into_parts();
        let result = self.put(messages, &metadata).await;
        answer(timer, result).map(|put| Response::new(one(put)))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let timer = self.timer("do_action");
        let (metadata, _, action) = request.into_parts();
        let result = self.act(&action, &metadata).await;
        let acted = answer(timer, result)?;
        let body = acted.body.map(|body| Ok(arrow_flight::Result { body }));
        let mut response = Response::new(stream::iter(body).boxed());
        if let Some(cookie) = acted.cookie {
            response.metadata_mut().insert("set-cookie", cookie);
        }
        Ok(response)
    }

    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let actions = action::offered().map(Ok);
        Ok(Response::new(stream::iter(actions).boxed()))
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(refused("DoExchange is not part of Flight SQL"))
    }
}

fn refused(message: &str) -> Status {
    to_status(&unsupported(message))
}
