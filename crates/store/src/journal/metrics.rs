//! Every metric of journals.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

/// Counts what journals do. One per process, made at start and cloned.
#[derive(Debug, Clone)]
pub struct JournalMetrics {
    /// Appends by outcome: won, sealed, taken, unknown.
    pub(crate) appends: IntCounterVec,
    /// Seals of others' journals by outcome: won, lost, unknown.
    pub(crate) seals: IntCounterVec,
    /// Adoption claims by outcome: won, lost, unknown.
    pub(crate) claims: IntCounterVec,
    /// Segments of the own journal that count.
    pub(crate) segments: IntGauge,
    /// Bytes of them.
    pub(crate) bytes: IntGauge,
    /// From when a record was worth a segment of its own until it was durable.
    pub(crate) delay: Histogram,
}

impl JournalMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// If the registry has them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help| IntCounterVec::new(Opts::new(name, help), &["outcome"]);
        let metrics = JournalMetrics {
            appends: counter(
                "paceline_journal_appends_total",
                "Segments sent to the own journal, by what came of them",
            )?,
            seals: counter(
                "paceline_journal_seals_total",
                "Seals of other schedulers' journals, by what came of them",
            )?,
            claims: counter(
                "paceline_journal_claims_total",
                "Adoption claims, by what came of them",
            )?,
            segments: IntGauge::new(
                "paceline_journal_segments",
                "Segments of the own journal since its last snapshot",
            )?,
            bytes: IntGauge::new(
                "paceline_journal_size_bytes",
                "Bytes of the own journal since its last snapshot",
            )?,
            delay: Histogram::with_opts(
                HistogramOpts::new(
                    "paceline_journal_delay_seconds",
                    "How long records waited until they were durable",
                )
                .buckets(prometheus::exponential_buckets(0.001, 2.0, 16)?),
            )?,
        };
        registry.register(Box::new(metrics.appends.clone()))?;
        registry.register(Box::new(metrics.seals.clone()))?;
        registry.register(Box::new(metrics.claims.clone()))?;
        registry.register(Box::new(metrics.segments.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.delay.clone()))?;
        Ok(metrics)
    }
}
