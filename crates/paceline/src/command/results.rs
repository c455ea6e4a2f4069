use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use paceline_model::QueryId;

use super::{ServerArguments, block_on};
use crate::Failure;
use crate::client::Http;

#[derive(Args)]
pub(crate) struct ResultsArguments {
    /// The query, as `paceline submit` printed it.
    query: QueryId,
    /// What the result is written as.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// One page, counted from 0, and not the whole result.
    #[arg(long, value_name = "NUMBER")]
    page: Option<u64>,
    /// The file to write; without it, the standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArguments,
}

/// A format that the server writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Comma-separated values with a header.
    Csv,
    /// An array of objects.
    Json,
    /// An object a line.
    Ndjson,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Format::Csv => "text/csv",
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::Arrow => "application/vnd.apache.arrow.stream",
            Format::Parquet => "application/vnd.apache.parquet",
        }
    }

    fn is_text(self) -> bool {
        matches!(self, Format::Csv | Format::Json | Format::Ndjson)
    }
}

pub(crate) fn results(arguments: &ResultsArguments) -> Result<(), Failure> {
    let ResultsArguments { format, output, .. } = arguments;
    if output.is_none() && !format.is_text() && io::stdout().is_terminal() {
        return Err(Failure::new(
            "this format is not for terminals: name a file with --output, or send it on",
        ));
    }
    let http = Http::new(&arguments.server.http);
    block_on(async {
        let media_type = format.media_type();
        let mut rows = http
            .results(arguments.query, arguments.page, media_type)
            .await?;
        // Made only now, so that a result that is not there leaves no file.
        let mut out: Box<dyn Write> = match output {
            Some(path) => Box::new(File::create(path).map_err(Failure::while_doing(format!(
                "cannot write {}",
                path.display()
            )))?),
            None => Box::new(io::stdout().lock()),
        };
        while let Some(chunk) = rows.next().await? {
            out.write_all(&chunk)?;
        }
        Ok(out.flush()?)
    })
}
