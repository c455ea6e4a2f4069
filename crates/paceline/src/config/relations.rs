//! What options must be to one another.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Auto, ConfigError, Configuration, Role};

/// Far longer than executors remember that a query has ended.
const LEAST_GARBAGE_AGE: Duration = Duration::from_secs(3600);

/// Checks the sections that `role` reads.
pub(super) fn check(role: Role, configuration: &Configuration) -> Result<(), ConfigError> {
    let mut problems = listen(role, configuration);
    if role != Role::Executor {
        problems = problems.or_else(|| scheduler(configuration));
    }
    if role != Role::Scheduler {
        problems = problems.or_else(|| executor(role, configuration));
    }
    match problems.or_else(|| tables(configuration)) {
        Some(problem) => Err(ConfigError::Relation { problem }),
        None => Ok(()),
    }
}

fn listen(role: Role, configuration: &Configuration) -> Option<String> {
    let listen = &configuration.listen;
    let mut ports = vec![
        ("listen.http_port", listen.http_port),
        ("listen.cluster_port", listen.cluster_port),
        ("listen.metrics_port", listen.metrics_port),
    ];
    if role != Role::Executor {
        ports.push(("listen.flight_port", listen.flight_port));
    }
    for (index, (name, port)) in ports.iter().enumerate() {
        let other = ports
            .iter()
            .skip(index + 1)
            .find(|(_, p)| p == port && *p != 0);
        if let Some((other, _)) = other {
            return Some(format!(
                "{name} and {other} are both {port}; give one of them another port"
            ));
        }
    }
    if listen.host.is_unspecified() && listen.advertise_host.is_empty() {
        return Some(format!(
            "listen.host is {}, which nobody can dial; set listen.advertise_host to the name or \
             address under which this machine is reached",
            listen.host
        ));
    }
    None
}

fn scheduler(configuration: &Configuration) -> Option<String> {
    let options = &configuration.scheduler;
    let positive = [
        ("beat", options.beat),
        ("heartbeat", options.heartbeat),
        ("no_executor_grace", options.no_executor_grace),
    ];
    if let Some((name, _)) = positive.iter().find(|(_, value)| value.0.is_zero()) {
        return Some(format!("scheduler.{name} must be above zero"));
    }
    if options.takeover_after.0 < options.beat.0 * 2 {
        return Some(format!(
            "scheduler.takeover_after ({}) must be at least twice scheduler.beat ({}), or one late \
             beat is taken for a death",
            options.takeover_after, options.beat
        ));
    }
    if options.executor_timeout.0 < options.heartbeat.0 * 2 {
        return Some(format!(
            "scheduler.executor_timeout ({}) must be at least twice scheduler.heartbeat ({}), or \
             one late heartbeat is taken for a death",
            options.executor_timeout, options.heartbeat
        ));
    }
    if options.garbage_after.0 < LEAST_GARBAGE_AGE {
        return Some(format!(
            "scheduler.garbage_after ({}) must be at least 1h: executors and delayed requests remember \
             ended queries for a while",
            options.garbage_after
        ));
    }
    if options.max_running_queries == 0 || options.max_attempts == 0 {
        return Some(
            "scheduler.max_running_queries and scheduler.max_attempts must be at least 1"
                .to_string(),
        );
    }
    None
}

fn executor(role: Role, configuration: &Configuration) -> Option<String> {
    let options = &configuration.executor;
    if role == Role::Executor && options.schedulers.is_empty() {
        return Some(
            "executor.schedulers is empty; name the cluster port of at least one scheduler, as \
             host:port"
                .to_string(),
        );
    }
    if options.slots == Auto::Is(0) {
        return Some("executor.slots must be at least 1, or auto".to_string());
    }
    if let (Auto::Is(exchange), Auto::Is(memory)) = (options.exchange_memory, options.memory_limit)
        && exchange > memory
    {
        return Some(format!(
            "executor.exchange_memory ({exchange}) must not be above executor.memory_limit \
             ({memory})"
        ));
    }
    let longest = configuration.scheduler.executor_timeout.0 / 2;
    if options.heartbeat.0.is_zero() || options.heartbeat.0 > longest {
        return Some(format!(
            "executor.heartbeat ({}) must be above zero and at most half of \
             scheduler.executor_timeout ({}), or one late beat is taken for a death",
            options.heartbeat, configuration.scheduler.executor_timeout
        ));
    }
    if options.drain_timeout.0 > Duration::from_secs(24 * 3600) {
        return Some("executor.drain_timeout must be at most one day".to_string());
    }
    None
}

fn tables(configuration: &Configuration) -> Option<String> {
    let mut names = BTreeSet::new();
    configuration
        .tables
        .iter()
        .find(|table| !names.insert(table.name.to_ascii_lowercase()))
        .map(|table| format!("[[tables]] has '{}' twice", table.name))
}
