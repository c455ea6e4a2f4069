use std::io;
use std::path::PathBuf;

use clap::Args;

use super::{ServerArguments, block_on, say};
use crate::Failure;
use crate::client::{Http, SubmitRequest};

#[derive(Args)]
pub(crate) struct SubmitArguments {
    /// The statement.
    #[arg(short, long, value_name = "SQL", conflicts_with = "file")]
    command: Option<String>,
    /// A file with the statement; without it and -c, the standard input.
    file: Option<PathBuf>,
    /// How long it may take in all, such as 30s or 2h.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// How long its result is kept from its end on.
    #[arg(long, value_name = "DURATION")]
    result_ttl: Option<String>,
    /// Handed in again with the same key, it is the same query.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    server: ServerArguments,
}

pub(crate) fn submit(arguments: &SubmitArguments) -> Result<(), Failure> {
    let sql = match (&arguments.command, &arguments.file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => std::fs::read_to_string(path).map_err(Failure::while_doing(
            format!("cannot read {}", path.display()),
        ))?,
        (None, None) => io::read_to_string(io::stdin())?,
    };
    let request = SubmitRequest {
        sql,
        timeout: arguments.timeout.clone(),
        result_ttl: arguments.result_ttl.clone(),
    };
    let http = Http::new(&arguments.server.http);
    let key = arguments.key.as_deref();
    let report = block_on(async { Ok(http.submit(&request, key).await?) })?;
    say(report.query_id)
}
