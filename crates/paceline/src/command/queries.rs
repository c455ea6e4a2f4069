use clap::Args;
use paceline_frontend::QueryReport;

use super::{ServerArguments, block_on, say, table};
use crate::Failure;
use crate::client::{Http, QueryChoice};

#[derive(Args)]
pub(crate) struct QueriesArguments {
    /// Only those in one of these states: queued, running, finished, failed, cancelled.
    #[arg(long, value_name = "STATE,…")]
    state: Option<String>,
    /// Only those that this scheduler drives.
    #[arg(long, value_name = "SCHEDULER")]
    owner: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: usize,
    #[command(flatten)]
    server: ServerArguments,
}

pub(crate) fn queries(arguments: &QueriesArguments) -> Result<(), Failure> {
    let choice = QueryChoice {
        state: arguments.state.clone(),
        owner: arguments.owner.clone(),
        limit: Some(arguments.limit),
    };
    let http = Http::new(&arguments.server.http);
    let list = block_on(async { Ok(http.queries(&choice).await?) })?;
    let header = [
        "query",
        "state",
        "owner",
        "stages",
        "tasks",
        "seconds",
        "statement",
    ];
    let mut rows = table(&header);
    for query in list.queries {
        let (done, all) = tasks(&query);
        rows.add_row([
            query.query_id.to_string(),
            query.state.as_str().to_string(),
            query.owner.to_string(),
            query.stages.len().to_string(),
            format!("{done} of {all}"),
            format!("{:.3}", query.elapsed_seconds),
            shortened(&query.sql),
        ]);
    }
    say(rows)?;
    if list.next.is_some() {
        say("there are more: raise --limit, or choose a state or an owner")?;
    }
    for scheduler in list.unreachable {
        eprintln!("the queries of {scheduler} are missing: it did not answer");
    }
    if let Some(reason) = list.incomplete {
        eprintln!("queries that have ended may be missing: {reason}");
    }
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
