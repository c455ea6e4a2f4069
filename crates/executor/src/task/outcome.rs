//! What a finished attempt reports.

use paceline_plan::{MetricUnit, OperatorMetric};
use paceline_proto::cluster;

use super::output::Left;
use crate::metrics::Metrics;

/// Bytes that a task read from exchanges.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Read {
    pub(super) local: u64,
    pub(super) remote: u64,
}

/// A finished attempt, but for its times.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) finished: cluster::Finished,
    /// Whether the output lies in the store.
    pub(crate) holds_output: bool,
}

impl Outcome {
    pub(super) fn new(left: Left, operators: Vec<Vec<OperatorMetric>>, read: Read) -> Self {
        let spilled_bytes = operators
            .iter()
            .flatten()
            .filter(|metric| metric.name == "spilled_bytes")
            .map(|metric| metric.value)
            .sum();
        let (output, inline_result) = match left {
            Left::Stored(summary) => (summary, None),
            Left::Inline(summary, bytes) => (summary, Some(bytes)),
        };
        Outcome {
            holds_output: inline_result.is_none(),
            finished: cluster::Finished {
                output: Some(output.into()),
                operators: operators.into_iter().map(operator).collect(),
                inline_result,
                run_micros: 0,
                queued_micros: 0,
                spilled_bytes,
                read_local_bytes: read.local,
                read_remote_bytes: read.remote,
            },
        }
    }

    pub(super) fn observe(&self, metrics: &Metrics) {
        let finished = &self.finished;
        let read = |locality: &str, bytes| {
            metrics.read.with_label_values(&[locality]).inc_by(bytes);
        };
        read("local", finished.read_local_bytes);
        read("remote", finished.read_remote_bytes);
        metrics.spilled.inc_by(finished.spilled_bytes);
        if let (true, Some(output)) = (self.holds_output, &finished.output) {
            metrics.written.inc_by(output.bytes);
        }
    }
}

fn operator(metrics: Vec<OperatorMetric>) -> cluster::OperatorMetrics {
    let metrics = metrics.into_iter().map(|metric| cluster::Metric {
        name: metric.name,
        value: metric.value,
        unit: match metric.unit {
            MetricUnit::Count => cluster::Unit::Count.into(),
            MetricUnit::Bytes => cluster::Unit::Bytes.into(),
            MetricUnit::Nanoseconds => cluster::Unit::Nanoseconds.into(),
        },
    });
    cluster::OperatorMetrics {
        metrics: metrics.collect(),
    }
}
