//! The metrics of both doors.

use std::time::Instant;

use paceline_model::{ErrorClass, QueryError};
use paceline_telemetry::latency;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, core::Collector};

/// One of the two doors; a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Flight,
    Http,
}

impl Protocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Protocol::Flight => "flight",
            Protocol::Http => "http",
        }
    }
}

/// What the front end counts. Make one for each registry and hand it to both servers.
#[derive(Debug, Clone)]
pub struct FrontendMetrics {
    requests: HistogramVec,
    connections: IntGaugeVec,
    result_rows: IntCounterVec,
    result_bytes: IntCounterVec,
}

impl FrontendMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If they are registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = HistogramVec::new(
            latency(
                "paceline_frontend_request_duration_seconds",
                "From a request to the last byte of its answer. The outcome is ok, the class of \
                 the error, or abandoned if the client went away.",
            ),
            &["protocol", "endpoint", "outcome"],
        )?;
        let connections = IntGaugeVec::new(
            Opts::new(
                "paceline_frontend_connections",
                "Connections of clients that are open.",
            ),
            &["protocol"],
        )?;
        let result_rows = IntCounterVec::new(
            Opts::new(
                "paceline_frontend_result_rows_total",
                "Rows of results sent to clients.",
            ),
            &["protocol"],
        )?;
        let result_bytes = IntCounterVec::new(
            Opts::new(
                "paceline_frontend_result_bytes_total",
                "Bytes of results sent to clients, as encoded.",
            ),
            &["protocol"],
        )?;
        let all: [Box<dyn Collector>; 4] = [
            Box::new(requests.clone()),
            Box::new(connections.clone()),
            Box::new(result_rows.clone()),
            Box::new(result_bytes.clone()),
        ];
        for metric in all {
            registry.register(metric)?;
        }
        Ok(FrontendMetrics {
            requests,
            connections,
            result_rows,
            result_bytes,
        })
    }

    /// Starts to time one request. The endpoint is a label: known at compile time, never what a
    /// client sent.
    pub(crate) fn request(&self, protocol: Protocol, endpoint: &'static str) -> RequestTimer {
        RequestTimer {
            requests: self.requests.clone(),
            protocol,
            endpoint,
            started: Instant::now(),
            outcome: ABANDONED,
        }
    }

    /// Counts a connection for as long as what is returned lives.
    pub(crate) fn connection(&self, protocol: Protocol) -> OpenConnection {
        let gauge = self.connections.with_label_values(&[protocol.as_str()]);
        gauge.inc();
        OpenConnection(gauge)
    }

    pub(crate) fn sent_rows(&self, protocol: Protocol, rows: usize) {
        self.result_rows
            .with_label_values(&[protocol.as_str()])
            .inc_by(rows as u64);
    }

    pub(crate) fn sent_bytes(&self, protocol: Protocol, bytes: usize) {
        self.result_bytes
            .with_label_values(&[protocol.as_str()])
            .inc_by(bytes as u64);
    }
}

pub(crate) struct OpenConnection(prometheus::IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

const OK: &str = "ok";
const ABANDONED: &str = "abandoned";

/// Times one request; records it when dropped. A request that nobody ended was abandoned: its
/// client went away, so that its future or stream was dropped.
pub(crate) struct RequestTimer {
    requests: HistogramVec,
    protocol: Protocol,
    endpoint: &'static str,
    started: Instant,
    outcome: &'static str,
}

impl RequestTimer {
    pub(crate) fn succeeded(&mut self) {
        self.outcome = OK;
    }

    pub(crate) fn failed(&mut self, class: ErrorClass) {
        self.outcome = class.as_str();
    }

    pub(crate) fn ended<T>(&mut self, result: &Result<T, QueryError>) {
        match result {
            Ok(_) => self.succeeded(),
            Err(error) => self.failed(error.class),
        }
    }
}

impl Drop for RequestTimer {
    fn drop(&mut self) {
        self.requests
            .with_label_values(&[self.protocol.as_str(), self.endpoint, self.outcome])
            .observe(self.started.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_counted_once_by_how_it_ended() {
        let metrics = FrontendMetrics::register(&Registry::new()).unwrap();
        let failure = QueryError::new(ErrorClass::User, "no");
        metrics.request(Protocol::Http, "e").ended(&Ok(()));
        metrics
            .request(Protocol::Http, "e")
            .ended(&Err::<(), _>(failure));
        drop(metrics.request(Protocol::Http, "e"));
        for outcome in ["ok", "user", "abandoned"] {
            let count = metrics
                .requests
                .with_label_values(&["http", "e", outcome])
                .get_sample_count();
            assert_eq!(count, 1, "{outcome}");
        }
    }

    #[test]
    fn a_connection_is_counted_while_it_lives() {
        let metrics = FrontendMetrics::register(&Registry::new()).unwrap();
        let open = metrics.connection(Protocol::Flight);
        let gauge = metrics.connections.with_label_values(&["flight"]);
        assert_eq!(gauge.get(), 1);
        drop(open);
        assert_eq!(gauge.get(), 0);
    }
}
