//! Cancelling queries. Of one that its client was promised, the outcome tells how it ended: whoever hears
//! that it was cancelled may rely on that, whichever scheduler dies then.

use paceline_model::{QueryError, QueryId};

use crate::driver::Cancelling;
use crate::finding::leaving;
use crate::shared::Shared;

/// Cancels a query that is driven here, and returns true once it stays as it ended. False if it is driven
/// elsewhere, perhaps only by now.
///
/// # Errors
/// If this scheduler stops before that is known.
pub(crate) async fn cancel_here(shared: &Shared, query: QueryId) -> Result<bool, QueryError> {
    loop {
        let mut ends = match shared.driver.cancel(query) {
            Cancelling::Elsewhere => return Ok(false),
            Cancelling::Over => return Ok(true),
            Cancelling::Ending(ends) => ends,
        };
        // Cancel safety: it was told to stop, whoever waits for it.
        tokio::select! {
            // It ends with its record, and then as well there is something to see.
            _ = ends.changed() => {}
            () = shared.stop.cancelled() => return Err(leaving()),
        }
    }
}
