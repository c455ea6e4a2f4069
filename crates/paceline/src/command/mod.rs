//! The commands of a person who works with a cluster.

mod cancel;
mod output;
mod queries;
mod results;
mod sql;
mod status;
mod submit;

use std::fmt;
use std::future::Future;
use std::io::{self, Write};

use clap::Args;

use crate::Failure;

pub(crate) use cancel::{CancelArguments, cancel};
pub(crate) use queries::{QueriesArguments, queries, tasks};
pub(crate) use results::{ResultsArguments, results};
pub(crate) use sql::{SqlArguments, sql};
pub(crate) use status::status;
pub(crate) use submit::{SubmitArguments, submit};

/// Where the HTTP port of a scheduler is.
#[derive(Args)]
pub(crate) struct ServerArguments {
    /// The HTTP port of any scheduler, as host:port.
    #[arg(
        long,
        env = "PACELINE_HTTP",
        default_value = "127.0.0.1:8090",
        value_name = "ADDRESS"
    )]
    http: String,
}

/// Runs a command of one connection or two: one thread is enough.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// Writes lines to the standard output. That nobody reads them is a failure of the command, and no panic.
pub(crate) fn say(text: impl fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(Failure::while_doing("cannot write to the standard output"))
}

/// An empty table in the one style that all commands have.
pub(crate) fn table(header: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_preset(comfy_table::presets::UTF8_FULL_CONDENSED)
        .set_header(header.to_vec());
    table
}
