use clap::Args;
use paceline_model::QueryId;

use super::{ServerArguments, block_on};
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
        Http::new(&arguments.server.http)
            .cancel(arguments.query)
            .await?;
        println!("cancelled {}", arguments.query);
        Ok(())
    })
}
