use std::time::Duration;

use paceline_model::ByteSize;

use super::{ServerArguments, block_on, say, table};
use crate::Failure;
use crate::client::Http;

pub(crate) fn status(arguments: &ServerArguments) -> Result<(), Failure> {
    let status = block_on(async { Ok(Http::new(&arguments.http).status().await?) })?;
    let uptime = Duration::from_secs(status.uptime.as_secs());
    say(format!(
        "{} (paceline {}, up {}): {} queries running, {} queued; catalog version {}\n",
        status.scheduler,
        status.version,
        humantime::format_duration(uptime),
        status.queries_running,
        status.queries_queued,
        status.catalog
    ))?;
    let columns = [
        "scheduler",
        "cluster",
        "flight sql",
        "zone",
        "alive",
        "reachable",
    ];
    let mut schedulers = table(&columns);
    for scheduler in status.schedulers {
        schedulers.add_row([
            scheduler.id.to_string(),
            scheduler.address,
            scheduler.flight,
            scheduler.zone,
            yes(scheduler.live),
            yes(scheduler.reachable),
        ]);
    }
    say(format!("{schedulers}\n"))?;
    let mut executors = table(&["executor", "address", "zone", "slots", "memory", "draining"]);
    for executor in status.executors {
        executors.add_row([
            executor.id.to_string(),
            executor.address,
            executor.zone,
            format!("{} of {}", executor.slots_used, executor.slots),
            format!(
                "{} of {}",
                mib(executor.memory_used_bytes),
                mib(executor.memory_bytes)
            ),
            yes(executor.draining),
        ]);
    }
    say(executors)
}

fn mib(bytes: u64) -> ByteSize {
    ByteSize::mib(bytes >> 20)
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_string()
}
