//! From the configuration to what each component is told.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use paceline_executor::{Compression, ExecutorOptions};
use paceline_model::ByteSize;
use paceline_scheduler::{ConfiguredTable, SchedulerOptions};
use paceline_telemetry::{LogFormat, TelemetryOptions};

use super::memory::available_memory;
use crate::config::{Auto, Codec, Configuration, Listen, Log};

pub(super) fn telemetry(log: &Log) -> TelemetryOptions {
    TelemetryOptions {
        filter: log.level.clone(),
        format: if log.json {
            LogFormat::Json
        } else {
            LogFormat::Text
        },
    }
}

/// How others reach a port that is bound here.
pub(super) fn advertised(listen: &Listen, bound: SocketAddr) -> String {
    if listen.advertise_host.is_empty() {
        bound.to_string()
    } else {
        format!("{}:{}", listen.advertise_host, bound.port())
    }
}

fn advertise_host(listen: &Listen) -> Option<String> {
    (!listen.advertise_host.is_empty()).then(|| listen.advertise_host.clone())
}

pub(super) fn scheduler(
    configuration: &Configuration,
    environment: Vec<(String, String)>,
) -> SchedulerOptions {
    let (listen, scheduler) = (&configuration.listen, &configuration.scheduler);
    let at = |port| SocketAddr::new(listen.host, port);
    let tables = configuration.tables.iter().map(|table| ConfiguredTable {
        name: table.name.clone(),
        sql: table.create_statement(),
    });
    SchedulerOptions {
        name: scheduler.name.clone(),
        bind_cluster: at(listen.cluster_port),
        bind_flight: at(listen.flight_port),
        bind_http: at(listen.http_port),
        advertise_host: advertise_host(listen),
        zone: listen.zone.clone(),
        state: configuration.state_location(),
        state_options: configuration.state.options.0.clone(),
        environment,
        object_store: configuration.storage.options.0.clone(),
        data_location: scheduler.data_location.clone(),
        tables: tables.collect(),
        beat: scheduler.beat.0,
        takeover_after: scheduler.takeover_after.0,
        linger: scheduler.linger.0,
        heartbeat: scheduler.heartbeat.0,
        executor_timeout: scheduler.executor_timeout.0,
        reattach_grace: scheduler.reattach_grace.0,
        no_executor_grace: scheduler.no_executor_grace.0,
        small_plan: scheduler.small_plan_bytes,
        inline_limit: scheduler.inline_limit,
        result_ttl: scheduler.result_ttl.0,
        unread_ttl: scheduler.unread_ttl.0,
        submitted_ttl: scheduler.submitted_ttl.0,
        dropped_ttl: scheduler.dropped_ttl.0,
        garbage_after: scheduler.garbage_after.0,
        abandon_after: scheduler.abandon_after.0,
        max_running_queries: scheduler.max_running_queries,
        max_queued_queries: scheduler.max_queued_queries,
        max_attempts: scheduler.max_attempts,
        query_timeout: Some(scheduler.query_timeout.0).filter(|limit| !limit.is_zero()),
        read_budget: scheduler.read_budget,
    }
}

pub(super) fn executor(configuration: &Configuration) -> ExecutorOptions {
    let (listen, executor) = (&configuration.listen, &configuration.executor);
    let memory_limit = executor
        .memory_limit
        .or_else(|| ByteSize(available_memory().0 / 10 * 7));
    let cores = || {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        u32::try_from(cores).unwrap_or(1)
    };
    let directory = if executor.directory.is_empty() {
        std::env::temp_dir().join("paceline-executor")
    } else {
        PathBuf::from(&executor.directory)
    };
    ExecutorOptions {
        schedulers: executor.schedulers.clone(),
        bind: SocketAddr::new(listen.host, listen.cluster_port),
        advertise: advertise_host(listen),
        name: executor.name.clone(),
        zone: listen.zone.clone(),
        slots: executor.slots.or_else(cores),
        memory_limit,
        exchange_memory: executor
            .exchange_memory
            .or_else(|| ByteSize(memory_limit.0 / 4)),
        read_budget: executor.read_budget,
        directory,
        spill_limit: match executor.spill_limit {
            Auto::Auto => None,
            Auto::Is(limit) => Some(limit),
        },
        compression: match executor.compression {
            Codec::None => Compression::None,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        },
        heartbeat: executor.heartbeat.0,
        drain_timeout: executor.drain_timeout.0,
        orphan_ttl: executor.orphan_ttl.0,
        draining_orphan_ttl: executor.draining_orphan_ttl.0,
        queue_limit: executor.queue_limit,
        object_store: configuration.storage.options.0.clone(),
    }
}

/// The executor of a process that is a scheduler as well: it dials that scheduler, and nobody else
/// dials it.
pub(super) fn inner_executor(
    configuration: &Configuration,
    scheduler: SocketAddr,
) -> ExecutorOptions {
    let mut options = executor(configuration);
    let host = match scheduler.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip => ip,
    };
    options.schedulers = vec![SocketAddr::new(host, scheduler.port()).to_string()];
    options.bind = SocketAddr::new(host, 0);
    options.advertise = None;
    options
}
