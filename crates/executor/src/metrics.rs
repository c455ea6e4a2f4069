//! Every metric of an executor.

use paceline_model::ErrorClass;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector,
};

/// Why commands are refused.
const REFUSALS: [&str; 7] = [
    "detached",
    "draining",
    "ended",
    "malformed",
    "not_owner",
    "queue_full",
    "stale_epoch",
];

/// How tries at attaching end.
const ATTACHES: [&str; 5] = ["attached", "broken", "refused", "superseded", "unreachable"];

/// The metrics of one executor. Labels are bounded: outcomes, error classes, reasons and localities
/// are fixed words.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) slots: IntGauge,
    pub(crate) slots_used: IntGauge,
    pub(crate) slots_queued: IntGauge,
    pub(crate) memory_used: IntGauge,
    pub(crate) attached: IntGauge,
    pub(crate) unacknowledged: IntGauge,
    pub(crate) queries: IntGauge,
    pub(crate) draining: IntGauge,
    pub(crate) attempts: IntCounter,
    pub(crate) tasks: IntCounterVec,
    pub(crate) failures: IntCounterVec,
    pub(crate) refused: IntCounterVec,
    pub(crate) attaches: IntCounterVec,
    pub(crate) read: IntCounterVec,
    pub(crate) written: IntCounter,
    pub(crate) spilled: IntCounter,
    pub(crate) orphans: IntCounter,
    pub(crate) run_time: Histogram,
    pub(crate) queue_time: Histogram,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let r = registry;
        let classes = ErrorClass::ALL.map(ErrorClass::as_str);
        Ok(Metrics {
            slots: gauge(r, "slots", "Slots that tasks share.")?,
            slots_used: gauge(r, "slots_used", "Slots that running tasks occupy.")?,
            slots_queued: gauge(r, "slots_queued", "Slots that waiting tasks need.")?,
            memory_used: gauge(
                r,
                "memory_used_bytes",
                "Memory that operators have reserved.",
            )?,
            attached: gauge(
                r,
                "attached_schedulers",
                "Schedulers with an attach stream.",
            )?,
            unacknowledged: gauge(
                r,
                "unacknowledged_states",
                "Task states that no owner has acknowledged yet.",
            )?,
            queries: gauge(r, "queries", "Queries of which something is held.")?,
            draining: gauge(r, "draining", "1 while the executor drains.")?,
            attempts: counter(r, "attempts_total", "Attempts accepted from launches.")?,
            tasks: counters(
                r,
                "tasks_total",
                "Attempts that ended.",
                ("outcome", &["finished", "failed", "cancelled"]),
            )?,
            failures: counters(
                r,
                "task_failures_total",
                "Attempts that failed, by error class.",
                ("class", &classes),
            )?,
            refused: counters(
                r,
                "refused_commands_total",
                "Commands of schedulers that were refused.",
                ("reason", &REFUSALS),
            )?,
            attaches: counters(
                r,
                "attaches_total",
                "Tries at attaching to a scheduler, by how they ended.",
                ("outcome", &ATTACHES),
            )?,
            read: counters(
                r,
                "exchange_read_bytes_total",
                "Bytes that tasks read from exchanges.",
                ("locality", &["local", "remote"]),
            )?,
            written: counter(
                r,
                "exchange_written_bytes_total",
                "Bytes that tasks wrote to exchanges.",
            )?,
            spilled: counter(r, "spilled_bytes_total", "Bytes that operators spilled.")?,
            orphans: counter(
                r,
                "orphaned_queries_total",
                "Queries dropped because nobody owned them any more.",
            )?,
            run_time: histogram(r, "task_run_seconds", "Time that attempts ran.")?,
            queue_time: histogram(r, "task_queued_seconds", "Time that attempts waited.")?,
        })
    }
}

fn name(suffix: &str) -> String {
    format!("paceline_executor_{suffix}")
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(registry: &Registry, suffix: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    registered(registry, IntGauge::new(name(suffix), help)?)
}

fn counter(registry: &Registry, suffix: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    registered(registry, IntCounter::new(name(suffix), help)?)
}

fn counters(
    registry: &Registry,
    suffix: &str,
    help: &str,
    (label, values): (&str, &[&str]),
) -> Result<IntCounterVec, prometheus::Error> {
    let opts = Opts::new(name(suffix), help);
    let counters = IntCounterVec::new(opts, &[label])?;
    // Rates need a zero to start from.
    for value in values {
        counters.with_label_values(&[value]);
    }
    registered(registry, counters)
}

fn histogram(
    registry: &Registry,
    suffix: &str,
    help: &str,
) -> Result<Histogram, prometheus::Error> {
    let buckets = vec![
        0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        30.0, 60.0, 300.0, 1800.0,
    ];
    let opts = HistogramOpts::new(name(suffix), help).buckets(buckets);
    registered(registry, Histogram::with_opts(opts)?)
}

/// A number as a gauge takes it.
pub(crate) fn level(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
