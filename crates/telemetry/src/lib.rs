//! How a Paceline process is observed: logs on stderr, and metrics on a port of their own.
//!
//! ```text
//!   tracing events ──► logs (text or JSON lines, filtered)          ──► stderr
//!   each crate's metrics.rs ──► prometheus::Registry ◄── process    ──► GET :9090/metrics
//! ```
//!
//! This crate owns the form of the logs, the metrics endpoint, the metrics of the process itself and
//! the buckets of latency histograms. It has no global registry: a process makes one and hands it
//! to each of its parts, so that two of them in one process (or test) do not meet. It reads neither
//! arguments nor environment; the binaries do, and fill in [`TelemetryOptions`].
//!
//! Entry points: [`init_logs`], [`serve_metrics`], [`register_process_metrics`],
//! [`LATENCY_BUCKETS_SECONDS`].

mod buckets;
mod endpoint;
mod logs;
mod options;
mod process;

pub use buckets::{LATENCY_BUCKETS_SECONDS, SIZE_BUCKETS_BYTES, latency};
pub use endpoint::serve_metrics;
pub use logs::{LogError, init_logs};
pub use options::{InvalidLogFormat, LogFormat, TelemetryOptions};
pub use process::register_process_metrics;
