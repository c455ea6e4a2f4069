//! Every metric of this crate.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, exponential_buckets,
};

/// Counts and times requests to the state store. One per process, made at start and cloned.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    /// Requests, by operation (create, put, get, list, delete) and outcome (ok, exists, missing,
    /// refused, failed, timeout).
    pub(crate) requests: IntCounterVec,
    /// How long requests took, by operation.
    pub(crate) seconds: HistogramVec,
    /// Creates by how they ended: won, exists, and, settled by reading back, won_after_doubt,
    /// refused, unknown.
    pub(crate) creates: IntCounterVec,
    /// The catalog version that this process knows.
    pub(crate) catalog_version: IntGauge,
}

impl StoreMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// If the registry has them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self::build()?;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.creates.clone()))?;
        registry.register(Box::new(metrics.catalog_version.clone()))?;
        Ok(metrics)
    }

    fn build() -> Result<Self, prometheus::Error> {
        // 0.25 ms (a local directory) to 8 s (beyond every limit).
        let buckets = exponential_buckets(0.000_25, 2.0, 16)?;
        Ok(StoreMetrics {
            requests: IntCounterVec::new(
                Opts::new(
                    "paceline_store_requests_total",
                    "Requests to the state store, by operation and outcome",
                ),
                &["operation", "outcome"],
            )?,
            seconds: HistogramVec::new(
                HistogramOpts::new(
                    "paceline_store_request_seconds",
                    "Duration of requests to the state store, by operation",
                )
                .buckets(buckets),
                &["operation"],
            )?,
            creates: IntCounterVec::new(
                Opts::new(
                    "paceline_store_creates_total",
                    "Creates in the state store, by what came of them",
                ),
                &["outcome"],
            )?,
            catalog_version: IntGauge::new(
                "paceline_store_catalog_version",
                "The catalog version that this process knows",
            )?,
        })
    }
}
