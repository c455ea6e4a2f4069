//! Stored results whose time is over, and outcomes as those meet them who look through many.

use std::sync::Arc;
use std::time::Duration;

use paceline_model::QueryId;
use paceline_store::{Claims, Ending, ResultError, ResultManifest, StoreError};

use crate::duties::Duties;
use crate::moment::now_and_then;
use crate::shared::Shared;
use crate::written::unix_millis;

/// How often results whose time is over are looked for, at least and at most.
const SWEEP: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(30)];

/// Removes results whose time is over, for as long as it is polled. The schedulers share that work.
pub(crate) async fn sweep_results(shared: Arc<Shared>) {
    let [shortest, longest] = SWEEP;
    let every = (shared.submitted_ttl / 4).clamp(shortest, longest);
    let mut ticks = now_and_then(every);
    loop {
        ticks.tick().await;
        if let Err(error) = sweep(&shared).await {
            tracing::warn!(%error, "could not look for results whose time is over");
        }
    }
}

async fn sweep(shared: &Shared) -> Result<(), ResultError> {
    let (journaling, duties) = (&shared.journaling, Duties::of(shared));
    for query in journaling.results.queries().await? {
        if !duties.include(query) {
            continue;
        }
        let Some(ending) = readable_outcome(&journaling.claims, query).await? else {
            continue;
        };
        let manifest = ResultManifest::from_json(&ending.result);
        if manifest.is_none_or(|manifest| manifest.expires_at_unix_ms <= unix_millis()) {
            journaling.results.remove(query).await?;
        }
    }
    Ok(())
}

/// The outcome of a query; none as well if it cannot be read, and will not be by being read again. Such a one
/// holds up nothing of other queries.
///
/// # Errors
/// If the store does not answer.
pub(crate) async fn readable_outcome(
    claims: &Claims,
    query: QueryId,
) -> Result<Option<Ending>, StoreError> {
    match claims.outcome(query).await {
        Err(error @ (StoreError::Corrupt { .. } | StoreError::Newer { .. })) => {
            tracing::error!(%query, %error, "an outcome cannot be read");
            Ok(None)
        }
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use paceline_model::{Epoch, QueryState};

    use super::*;
    use crate::testing::shared;

    /// For how long a write may be repeated.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_outcome_that_cannot_be_read_keeps_no_other_result() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let (claims, results) = (&shared.journaling.claims, &shared.journaling.results);
        let query = |n: u8| QueryId::from_slice(&[n; 16]).unwrap();
        for n in 1..=3 {
            let schema = Bytes::from_static(b"columns");
            let writer = results.write(query(n), Epoch(0), schema, PATIENCE);
            let index = writer.finish().await.unwrap();
            let expires = if n == 3 { u64::MAX } else { 0 };
            let ending = Ending {
                state: QueryState::Finished,
                by: shared.driver.me(),
                epoch: Epoch(0),
                error: None,
                result: ResultManifest::of(&index, Epoch(0), expires).to_json(),
            };
            claims.finish(query(n), &ending).await.unwrap();
        }
        let damaged = directory.path().join(format!("queries/{}", query(1)));
        std::fs::write(damaged.join("finished"), "no outcome").unwrap();
        sweep(&shared).await.unwrap();
        assert_eq!(results.queries().await.unwrap(), [query(1), query(3)]);
        shared.stop.cancel();
    }
}
