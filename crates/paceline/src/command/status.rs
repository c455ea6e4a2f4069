use std::time::Duration;

use paceline_frontend::QueryReport;
use paceline_model::ByteSize;

use super::{ServerArguments, block_on, table};
use crate::Failure;
use crate::client::Http;

pub(crate) fn status(arguments: &ServerArguments) -> Result<(), Failure> {
    let status = block_on(async { Ok(Http::new(&arguments.http).status().await?) })?;
    let uptime = Duration::from_secs(status.uptime.as_secs());
    println!(
        "{} (paceline {}, up {}): {} queries running, {} queued; catalog version {}\n",
        status.scheduler,
        status.version,
        humantime::format_duration(uptime),
        status.queries_running,
        status.queries_queued,
        status.catalog
    );
    let mut schedulers = table(&["scheduler", "cluster", "flight sql", "zone", "alive"]);
    for scheduler in status.schedulers {
        schedulers.add_row([
            scheduler.id.to_string(),
            scheduler.address,
            scheduler.flight,
            scheduler.zone,
            yes(scheduler.live),
        ]);
    }
    println!("{schedulers}\n");
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
    println!("{executors}");
    Ok(())
}

pub(crate) fn queries(arguments: &ServerArguments) -> Result<(), Failure> {
    let queries = block_on(async { Ok(Http::new(&arguments.http).queries().await?) })?;
    let mut rows = table(&["query", "state", "stages", "tasks", "seconds", "statement"]);
    for query in queries {
        let (done, all) = tasks(&query);
        rows.add_row([
            query.query_id.to_string(),
            query.state.as_str().to_string(),
            query.stages.len().to_string(),
            format!("{done} of {all}"),
            format!("{:.3}", query.elapsed_seconds),
            shortened(&query.sql),
        ]);
    }
    println!("{rows}");
    Ok(())
}

/// How many tasks of a query are done, and how many there are as far as that is known.
pub(crate) fn tasks(query: &QueryReport) -> (u32, u32) {
    query.stages.iter().fold((0, 0), |(done, all), stage| {
        (done + stage.done, all + stage.tasks)
    })
}

fn shortened(sql: &str) -> String {
    const LONGEST: usize = 60;
    let words: Vec<&str> = sql.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

fn mib(bytes: u64) -> ByteSize {
    ByteSize::mib(bytes >> 20)
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_string()
}
