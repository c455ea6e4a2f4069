//! Every metric of this crate.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Where a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Memory,
    Disk,
}

impl Tier {
    fn label(self) -> &'static str {
        match self {
            Tier::Memory => "memory",
            Tier::Disk => "disk",
        }
    }
}

/// Counts what exchanges hold and move. One per process, made at start and cloned.
#[derive(Debug, Clone)]
pub struct ExchangeMetrics {
    stored_bytes: IntCounterVec,
    served_bytes: IntCounterVec,
    served_frames: IntCounterVec,
    pub(crate) received_bytes: IntCounter,
    pub(crate) received_frames: IntCounter,
    pub(crate) spills: IntCounter,
    pub(crate) memory_bytes: IntGauge,
    pub(crate) disk_bytes: IntGauge,
    pub(crate) outputs: IntGauge,
    pub(crate) serving_streams: IntGauge,
    pub(crate) reading_streams: IntGauge,
    pub(crate) reconnects: IntCounter,
    lost: IntCounterVec,
}

impl ExchangeMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// If the registry has them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self::build()?;
        registry.register(Box::new(metrics.stored_bytes.clone()))?;
        registry.register(Box::new(metrics.served_bytes.clone()))?;
        registry.register(Box::new(metrics.served_frames.clone()))?;
        registry.register(Box::new(metrics.received_bytes.clone()))?;
        registry.register(Box::new(metrics.received_frames.clone()))?;
        registry.register(Box::new(metrics.spills.clone()))?;
        registry.register(Box::new(metrics.memory_bytes.clone()))?;
        registry.register(Box::new(metrics.disk_bytes.clone()))?;
        registry.register(Box::new(metrics.outputs.clone()))?;
        // A rate needs a zero to begin at.
        for tier in [Tier::Memory, Tier::Disk] {
            metrics.stored(tier, 0);
        }
        registry.register(Box::new(metrics.serving_streams.clone()))?;
        registry.register(Box::new(metrics.reading_streams.clone()))?;
        registry.register(Box::new(metrics.reconnects.clone()))?;
        registry.register(Box::new(metrics.lost.clone()))?;
        Ok(metrics)
    }

    fn build() -> Result<Self, prometheus::Error> {
        let vector = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        Ok(ExchangeMetrics {
            stored_bytes: vector(
                "paceline_exchange_stored_bytes_total",
                "Bytes of batches that attempts left in exchange outputs, by tier (memory: \
                 uncompressed, disk: as written)",
                &["tier"],
            )?,
            served_bytes: vector(
                "paceline_exchange_served_bytes_total",
                "Bytes of exchange outputs that this process handed to readers, by their locality \
                 (local: in this process) and the tier they lay in",
                &["locality", "tier"],
            )?,
            served_frames: vector(
                "paceline_exchange_served_frames_total",
                "Frames of exchange outputs that this process handed to readers",
                &["locality", "tier"],
            )?,
            received_bytes: IntCounter::new(
                "paceline_exchange_received_bytes_total",
                "Bytes of exchange outputs read from other processes",
            )?,
            received_frames: IntCounter::new(
                "paceline_exchange_received_frames_total",
                "Frames of exchange outputs read from other processes",
            )?,
            spills: IntCounter::new(
                "paceline_exchange_spills_total",
                "Runs that attempts wrote to disk because memory for outputs was used up",
            )?,
            memory_bytes: IntGauge::new(
                "paceline_exchange_memory_bytes",
                "Bytes of exchange outputs held in memory",
            )?,
            disk_bytes: IntGauge::new(
                "paceline_exchange_disk_bytes",
                "Bytes of exchange outputs held on disk",
            )?,
            outputs: IntGauge::new(
                "paceline_exchange_outputs",
                "Exchange outputs held, those being written included",
            )?,
            serving_streams: IntGauge::new(
                "paceline_exchange_serving_streams",
                "Streams over which other processes read outputs of this one",
            )?,
            reading_streams: IntGauge::new(
                "paceline_exchange_reading_streams",
                "Streams over which this process reads outputs of others",
            )?,
            reconnects: IntCounter::new(
                "paceline_exchange_reconnects_total",
                "Streams to other processes that broke and were opened again",
            )?,
            lost: vector(
                "paceline_exchange_lost_outputs_total",
                "Reads that ended because an output could not be read, by reason",
                &["reason"],
            )?,
        })
    }

    pub(crate) fn stored(&self, tier: Tier, bytes: u64) {
        self.stored_bytes
            .with_label_values(&[tier.label()])
            .inc_by(bytes);
    }

    pub(crate) fn served(&self, local: bool, tier: Tier, bytes: u64) {
        let labels = [if local { "local" } else { "remote" }, tier.label()];
        self.served_bytes.with_label_values(&labels).inc_by(bytes);
        self.served_frames.with_label_values(&labels).inc();
    }

    pub(crate) fn lost(&self, reason: &'static str) {
        self.lost.with_label_values(&[reason]).inc();
    }
}

/// Counts one thing for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(IntGauge);

impl Counted {
    pub(crate) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Counted(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
