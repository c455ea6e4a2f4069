//! Both doors, open on free ports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{FlightClient, FlightInfo, Ticket};
use futures::TryStreamExt;
use paceline_frontend::{FlightOptions, FrontendMetrics, HttpOptions, serve_flight, serve_http};
use paceline_model::QueryError;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::engine::Engine;

pub(crate) struct House {
    pub(crate) engine: Arc<Engine>,
    pub(crate) flight: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) registry: Registry,
    pub(crate) shutdown: CancellationToken,
    pub(crate) flight_server: JoinHandle<Result<(), QueryError>>,
    pub(crate) http_server: JoinHandle<()>,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with_grace(Duration::from_secs(10)).await
    }

    pub(crate) async fn with_grace(grace: Duration) -> Self {
        let engine = Engine::new();
        let registry = Registry::new();
        let metrics = FrontendMetrics::register(&registry).unwrap();
        let shutdown = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let flight = listener.local_addr().unwrap();
        let options = FlightOptions {
            grace,
            ..FlightOptions::default()
        };
        let flight_server = tokio::spawn(serve_flight(
            listener,
            engine.clone(),
            options,
            metrics.clone(),
            shutdown.clone(),
        ));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap();
        let options = HttpOptions {
            grace,
            ..HttpOptions::default()
        };
        let http_server = tokio::spawn(serve_http(
            listener,
            engine.clone(),
            options,
            metrics,
            shutdown.clone(),
        ));
        House {
            engine,
            flight,
            http,
            registry,
            shutdown,
            flight_server,
            http_server,
        }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.flight)).unwrap();
        endpoint.tcp_nodelay(true).connect().await.unwrap()
    }

    pub(crate) async fn sql(&self) -> FlightSqlServiceClient<Channel> {
        FlightSqlServiceClient::new(self.channel().await)
    }

    pub(crate) async fn client(&self) -> FlightClient {
        FlightClient::new(self.channel().await)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub(crate) async fn post(&self, sql: &str) -> reqwest::Response {
        let client = reqwest::Client::new();
        let request = client.post(self.url("/v1/sql")).body(sql.to_string());
        request.send().await.unwrap()
    }

    /// How many requests ended that way.
    pub(crate) fn requests(&self, endpoint: &str, outcome: &str) -> u64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|f| f.name() == "paceline_frontend_request_duration_seconds");
        let metrics = family.map(|f| f.get_metric()).unwrap_or_default();
        let wanted = |metric: &&prometheus::proto::Metric| {
            let has = |name: &str, value: &str| {
                let labels = metric.get_label().iter();
                labels
                    .into_iter()
                    .any(|l| l.name() == name && l.value() == value)
            };
            has("endpoint", endpoint) && has("outcome", outcome)
        };
        let found = metrics.iter().find(wanted);
        found.map_or(0, |metric| metric.get_histogram().get_sample_count())
    }
}

pub(crate) fn ticket(info: &FlightInfo) -> Ticket {
    info.endpoint[0].ticket.clone().unwrap()
}

/// All rows behind the first endpoint.
pub(crate) async fn fetch(
    client: &mut FlightSqlServiceClient<Channel>,
    info: &FlightInfo,
) -> Result<Vec<RecordBatch>, FlightError> {
    let stream = client.do_get(ticket(info)).await?;
    stream.try_collect().await
}

/// Waits for a condition that nobody can announce.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "it looks again until it is so, with a deadline"
        )]
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}
