use clap::Args;
use paceline_model::QueryId;

use super::{ServerArguments, block_on, say};
use crate::Failure;
use crate::client::Http;

#[derive(Args)]
pub(crate) struct CancelArguments {
    /// The query, as `paceline queries` names it.
    query: QueryId,
    #[command(flatten)]
    server: ServerArguments,
}

pub(crate) fn cancel(arguments: &CancelArguments) -> Result<(), Failure> {
    block_on(async {
        let http = Http::new(&arguments.server.http);
        http.cancel(arguments.query).await?;
        // It may have come to another end before it was told.
        let report = http.query(arguments.query).await;
        let ended = report.map_or("ended", |report| report.state.as_str());
        say(format!("{ended} {}", arguments.query))
    })
}
