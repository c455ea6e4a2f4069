//! Every metric of the scheduler.

use std::time::Duration;

use paceline_core::{AttemptState, Core, Counters};
use paceline_model::{Invariant, QueryState, SchedulerId};
use paceline_store::Swept;
use paceline_telemetry::latency;
use parking_lot::Mutex;
use prometheus::{
    GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use crate::violations::Violations;
use crate::wire::Report;

/// The scheduler's metrics; one set per registry.
#[derive(Debug)]
pub(crate) struct SchedulerMetrics {
    queries: IntCounterVec,
    running: IntGauge,
    queued: IntGauge,
    stages: IntCounter,
    attempts: IntCounterVec,
    reruns: IntCounter,
    outputs_lost: IntCounter,
    outputs_taken_back: IntCounter,
    stale_reports: IntCounter,
    executors: IntGauge,
    executors_lost: IntCounter,
    query_seconds: HistogramVec,
    planning_seconds: Histogram,
    task_seconds: Histogram,
    exchange_read_bytes: IntCounterVec,
    spilled_bytes: IntCounter,
    takeover_seconds: Histogram,
    fenced: IntCounter,
    adoption_seconds: Histogram,
    overtaken: IntCounter,
    unreadable: IntCounter,
    beacon_age: GaugeVec,
    garbage: IntCounterVec,
    pub(crate) violations: Violations,
    seen: Mutex<Counters>,
}

impl SchedulerMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        fn add<C: prometheus::core::Collector + Clone + 'static>(
            registry: &Registry,
            metric: Result<C, prometheus::Error>,
        ) -> Result<C, prometheus::Error> {
            let metric = metric?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        let labelled = |name: &str, help: &str, label: &str| {
            IntCounterVec::new(Opts::new(name, help), &[label])
        };
        let metrics = SchedulerMetrics {
            queries: add(
                registry,
                labelled(
                    "paceline_queries_total",
                    "Queries by how they ended; adopted ones also when they were taken over.",
                    "outcome",
                ),
            )?,
            running: add(
                registry,
                IntGauge::new("paceline_queries_running", "Queries that run."),
            )?,
            queued: add(
                registry,
                IntGauge::new(
                    "paceline_queries_queued",
                    "Queries that wait for their turn.",
                ),
            )?,
            stages: add(
                registry,
                IntCounter::new(
                    "paceline_stages_total",
                    "Stages that were finished, and again when outputs were lost and made again.",
                ),
            )?,
            attempts: add(
                registry,
                labelled(
                    "paceline_task_attempts_total",
                    "Attempts at tasks by what became of them, and all that were launched.",
                    "outcome",
                ),
            )?,
            reruns: add(
                registry,
                IntCounter::new(
                    "paceline_task_reruns_total",
                    "Tasks run again for any reason but a failure of their own.",
                ),
            )?,
            outputs_lost: add(
                registry,
                IntCounter::new(
                    "paceline_exchange_outputs_lost_total",
                    "Exchange outputs that were lost while they were needed.",
                ),
            )?,
            outputs_taken_back: add(
                registry,
                IntCounter::new(
                    "paceline_exchange_outputs_taken_back_total",
                    "Exchange outputs of a query's former owner that were there to be used.",
                ),
            )?,
            stale_reports: add(
                registry,
                IntCounter::new(
                    "paceline_stale_reports_total",
                    "Task states that spoke of nothing current.",
                ),
            )?,
            executors: add(
                registry,
                IntGauge::new(
                    "paceline_executors_attached",
                    "Executors that are attached.",
                ),
            )?,
            executors_lost: add(
                registry,
                IntCounter::new("paceline_executors_lost_total", "Executors that were lost."),
            )?,
            query_seconds: add(
                registry,
                HistogramVec::new(
                    latency(
                        "paceline_query_duration_seconds",
                        "Time from a query's acceptance to its end.",
                    ),
                    &["outcome"],
                ),
            )?,
            planning_seconds: add(
                registry,
                Histogram::with_opts(latency(
                    "paceline_query_planning_seconds",
                    "Time that planning a statement took.",
                )),
            )?,
            task_seconds: add(
                registry,
                Histogram::with_opts(latency(
                    "paceline_task_duration_seconds",
                    "Time that finished attempts ran.",
                )),
            )?,
            exchange_read_bytes: add(
                registry,
                labelled(
                    "paceline_query_exchange_read_bytes_total",
                    "Bytes that tasks read from exchanges, by where these lay.",
                    "locality",
                ),
            )?,
            spilled_bytes: add(
                registry,
                IntCounter::new(
                    "paceline_query_spilled_bytes_total",
                    "Bytes that operators of finished tasks spilled.",
                ),
            )?,
            takeover_seconds: add(
                registry,
                Histogram::with_opts(latency(
                    "paceline_takeover_duration_seconds",
                    "Time from the first evidence against a query's owner until executors were \
                     told of the next one.",
                )),
            )?,
            fenced: add(
                registry,
                IntCounter::new(
                    "paceline_fenced_total",
                    "How often this scheduler found its journal sealed by another one.",
                ),
            )?,
            adoption_seconds: add(
                registry,
                Histogram::with_opts(latency(
                    "paceline_adoption_duration_seconds",
                    "Time from the decision to adopt a query until its claim was won.",
                )),
            )?,
            overtaken: add(
                registry,
                IntCounter::new(
                    "paceline_overtaken_total",
                    "How often an executor said that it obeys a later owner of a query of this \
                     scheduler, and so refuses this one's commands.",
                ),
            )?,
            unreadable: add(
                registry,
                IntCounter::new(
                    "paceline_journal_unreadable_records_total",
                    "Records of other schedulers' journals that could not be read when they were \
                     sealed, and count for nothing.",
                ),
            )?,
            beacon_age: add(
                registry,
                GaugeVec::new(
                    Opts::new(
                        "paceline_peer_beacon_age_seconds",
                        "For how long the beacon of each other scheduler has stood still.",
                    ),
                    &["scheduler"],
                ),
            )?,
            garbage: add(
                registry,
                labelled(
                    "paceline_garbage_removed_total",
                    "Names in the state store that were removed because their time was over.",
                    "kind",
                ),
            )?,
            violations: Violations::register(registry)?,
            seen: Mutex::new(Counters::default()),
        };
        metrics.show_all();
        Ok(metrics)
    }

    /// Makes every labelled counter visible from the start: a rate needs a zero to begin at.
    fn show_all(&self) {
        for outcome in ["finished", "failed", "cancelled", "refused", "adopted"] {
            self.queries.with_label_values(&[outcome]);
        }
        for outcome in [
            "launched",
            "finished",
            "failed",
            "cancelled",
            "lost",
            "taken_back",
        ] {
            self.attempts.with_label_values(&[outcome]);
        }
        self.swept(&Swept::default());
        for locality in ["local", "remote"] {
            self.exchange_read_bytes.with_label_values(&[locality]);
        }
    }

    /// Executors were told that a query has this scheduler for its owner.
    pub(crate) fn taken_over(&self, took: Duration) {
        self.takeover_seconds.observe(took.as_secs_f64());
    }

    /// The claim on a query was won, that long after the decision to adopt it.
    pub(crate) fn adopted(&self, took: Duration) {
        self.adoption_seconds.observe(took.as_secs_f64());
    }

    /// An executor obeys a later owner.
    pub(crate) fn overtaken(&self) {
        self.overtaken.inc();
    }

    /// So many records of a journal that was sealed could not be read.
    pub(crate) fn unreadable(&self, records: usize) {
        self.unreadable.inc_by(records as u64);
    }

    /// Something was seen that must never be.
    pub(crate) fn violated(&self, invariant: Invariant, seen: &str) {
        self.violations.count(invariant, seen);
    }

    /// For how long each other scheduler has been silent. Those that are gone for good are not shown.
    pub(crate) fn silences(&self, silences: &[(SchedulerId, Duration)]) {
        self.beacon_age.reset();
        for (scheduler, silence) in silences {
            self.beacon_age
                .with_label_values(&[scheduler.as_str()])
                .set(silence.as_secs_f64());
        }
    }

    /// Old state was removed.
    pub(crate) fn swept(&self, swept: &Swept) {
        for (kind, count) in [
            ("journal", swept.journals),
            ("claim", swept.claims),
            ("outcome", swept.outcomes),
            ("result", swept.results),
            ("probe", swept.probes),
            ("staged", swept.staged),
        ] {
            self.garbage.with_label_values(&[kind]).inc_by(count as u64);
        }
    }

    /// The own journal was sealed by another scheduler.
    pub(crate) fn fenced(&self) {
        self.fenced.inc();
    }

    pub(crate) fn planned(&self, took: Duration) {
        self.planning_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn stage_finished(&self) {
        self.stages.inc();
    }

    pub(crate) fn query_ended(&self, state: QueryState, took: Duration) {
        let outcome = [state.as_str()];
        self.query_seconds
            .with_label_values(&outcome)
            .observe(took.as_secs_f64());
    }

    pub(crate) fn reported(&self, report: &Report) {
        if let (AttemptState::Finished { .. }, Some(run)) = (&report.state, report.run) {
            self.task_seconds.observe(run.as_secs_f64());
            let read = &self.exchange_read_bytes;
            read.with_label_values(&["local"])
                .inc_by(report.read_local_bytes);
            read.with_label_values(&["remote"])
                .inc_by(report.read_remote_bytes);
            self.spilled_bytes.inc_by(report.spilled_bytes);
        }
    }

    /// Brings the numbers up to what the core has counted.
    pub(crate) fn observe(&self, core: &Core, attached: usize) {
        let (running, queued) = core.running_and_queued();
        self.running.set(running as i64);
        self.queued.set(queued as i64);
        self.executors.set(attached as i64);
        let now = core.counters();
        let mut seen = self.seen.lock();
        let queries = [
            ("finished", now.queries_finished - seen.queries_finished),
            ("failed", now.queries_failed - seen.queries_failed),
            ("cancelled", now.queries_cancelled - seen.queries_cancelled),
            ("refused", now.queries_refused - seen.queries_refused),
            ("adopted", now.queries_adopted - seen.queries_adopted),
        ];
        for (outcome, more) in queries {
            if more > 0 {
                self.queries.with_label_values(&[outcome]).inc_by(more);
            }
        }
        let attempts = [
            ("launched", now.attempts_launched - seen.attempts_launched),
            ("finished", now.attempts_finished - seen.attempts_finished),
            ("failed", now.attempts_failed - seen.attempts_failed),
            (
                "cancelled",
                now.attempts_cancelled - seen.attempts_cancelled,
            ),
            ("lost", now.attempts_lost - seen.attempts_lost),
            (
                "taken_back",
                now.attempts_taken_back - seen.attempts_taken_back,
            ),
        ];
        for (outcome, more) in attempts {
            if more > 0 {
                self.attempts.with_label_values(&[outcome]).inc_by(more);
            }
        }
        self.reruns.inc_by(now.reruns - seen.reruns);
        self.outputs_lost
            .inc_by(now.outputs_lost - seen.outputs_lost);
        self.outputs_taken_back
            .inc_by(now.outputs_taken_back - seen.outputs_taken_back);
        self.stale_reports
            .inc_by(now.stale_reports - seen.stale_reports);
        self.executors_lost
            .inc_by(now.executors_lost - seen.executors_lost);
        *seen = now;
    }
}
