//! Whether the outcome that a query has agrees with what its owner has come to.
//!
//! An outcome is made once, so it need not be the owner's own: a former owner may have made it, and may
//! have seen the query fail where this one saw it finish. Two things no former owner can have seen.

use paceline_model::{Invariant, QueryId};
use paceline_plan::WriteInto;
use paceline_store::Ending;

use crate::record::QueryRecord;
use crate::shared::Shared;
use crate::writing::rows_in;

/// Counts what cannot be, of the outcome that a query has, beside the one that its owner was about to
/// make.
pub(crate) fn check(shared: &Shared, query: QueryId, ours: &Ending, made: &Ending) {
    // Of a query that has moved away, the outcome may be that of this scheduler's former self.
    let mine = |record: &mut QueryRecord| (!record.is_moved()).then(|| record.write.clone());
    let Some(Some(into)) = shared.driver.with_record(&query, mine) else {
        return;
    };
    let logged = into.is_some_and(|into| !matches!(into, WriteInto::Files { .. }));
    for (invariant, seen) in contradictions(ours, made, logged) {
        let metrics = &shared.driver.metrics;
        metrics.violated(invariant, &format!("query {query} {seen}"));
    }
}

/// `logged`: the log of the catalog decides what the query wrote, for every owner alike.
fn contradictions(ours: &Ending, made: &Ending, logged: bool) -> Vec<(Invariant, String)> {
    let mut found = Vec::new();
    if made.epoch == ours.epoch && made.by != ours.by {
        let seen = format!(
            "is {} by the word of {}, and {} by that of {}, in one epoch",
            ours.state.as_str(),
            ours.by,
            made.state.as_str(),
            made.by
        );
        found.push((Invariant::OneOutcome, seen));
    }
    let (rows, told) = (rows_in(ours), rows_in(made));
    if logged && rows != told {
        let seen =
            format!("wrote {rows} rows by the log of the catalog, and {told} by its outcome");
        found.push((Invariant::ExactlyOnce, seen));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use paceline_frontend::Ticket;
    use paceline_model::{CatalogVersion, Epoch, ErrorClass, QueryError, QueryState, SchedulerId};

    use super::*;
    use crate::conclusion::conclude;
    use crate::service::Service;
    use crate::testing::{record, shared};

    fn ending(by: &str, epoch: u64, rows: Option<u64>) -> Ending {
        Ending {
            state: QueryState::Finished,
            by: SchedulerId::new(by),
            epoch: Epoch(epoch),
            error: None,
            result: serde_json::json!({ "rows_written": rows }),
        }
    }

    fn broken(ours: &Ending, made: &Ending, logged: bool) -> Vec<Invariant> {
        let found = contradictions(ours, made, logged).into_iter();
        found.map(|(invariant, _)| invariant).collect()
    }

    #[test]
    fn an_epoch_has_one_owner_and_a_write_is_what_the_log_says() {
        let ours = ending("a", 1, Some(3));
        assert_eq!(broken(&ours, &ours, true), []);
        let former = ending("b", 0, Some(3));
        assert_eq!(broken(&ours, &former, true), []);
        let other = ending("b", 1, Some(3));
        assert_eq!(broken(&ours, &other, true), [Invariant::OneOutcome]);
        let nothing = ending("b", 0, None);
        assert_eq!(broken(&ours, &nothing, true), [Invariant::ExactlyOnce]);
        assert_eq!(broken(&ours, &nothing, false), [], "files of others");
    }

    /// Of a query whose result is kept, and of one that writes where others look.
    #[tokio::test]
    async fn a_second_outcome_of_an_epoch_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let service = Service::new(Arc::clone(&shared));
        let counted = || shared.driver.metrics.violations.of(Invariant::OneOutcome);
        let mut kept = record().answered(vec![], Instant::now());
        kept.kept = Some(Duration::from_secs(60));
        let mut writes = record();
        let location = "file:///nowhere/".to_string();
        writes.write = Some(WriteInto::Files { location });
        writes.ticket = Some(Ticket {
            query: writes.query,
            accepted_by: shared.driver.me(),
            catalog: CatalogVersion(0),
            afresh: None,
            made: false,
        });
        let failed = QueryError::new(ErrorClass::User, "its tasks failed");
        writes.settle_tasks_failed(failed);
        for (nth, record) in [kept, writes].into_iter().enumerate() {
            let query = record.query;
            let claims = &shared.journaling.claims;
            let another = ending("another", 0, None);
            claims.finish(query, &another).await.unwrap();
            shared.driver.submit(record, None);
            assert_eq!(counted(), nth as u64);
            conclude(&service, query).await.unwrap();
            assert_eq!(counted(), nth as u64 + 1);
        }
        shared.stop.cancel();
    }
}
