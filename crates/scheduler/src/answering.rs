//! What other schedulers ask about queries that are driven here, answered.

use paceline_model::{ErrorClass, QueryId};
use paceline_proto::cluster::forward_request::Operation;
use paceline_proto::cluster::forward_response::Answer;
use paceline_proto::{Malformed, cluster, error_to_failed, query_id};

use crate::cancelling::cancel_here;
use crate::handover;
use crate::keyed::gone;
use crate::lending;
use crate::peers::{status_to_wire, unknown};
use crate::service::Service;
use crate::shared::Shared;

/// Answers another scheduler about a query that is driven here.
pub(crate) async fn answer(
    service: &Service,
    request: cluster::ForwardRequest,
) -> Result<cluster::ForwardResponse, Malformed> {
    let shared = &service.shared;
    let query = query_id(&request.query)?;
    let operation = request
        .operation
        .ok_or_else(|| Malformed::missing("operation"))?;
    let answer = match operation {
        Operation::Status(_) => match shared.driver.status(&query) {
            Some(status) => status_to_wire(&status),
            None => Err(unknown(query)),
        },
        Operation::Cancel(_) => match cancel_here(shared, query).await {
            Ok(true) => Ok(Answer::Done(cluster::Empty {})),
            Ok(false) => Err(unknown(query)),
            Err(error) => Err(error),
        },
        Operation::Result(_) => lending::answer(shared, query).await.map(Answer::Result),
        Operation::Consumed(_) => match shared.driver.drives(query) {
            true => {
                shared.driver.consumed(query);
                Ok(Answer::Done(cluster::Empty {}))
            }
            false => Err(unknown(query)),
        },
        Operation::Submit(submit) => match shared.is_draining() {
            // Two that leave must not send a statement back and forth.
            true => Err(unknown(query)),
            false => handover::accept(service, submit).await,
        },
        Operation::Ticket(_) => match shared.driver.with_record(&query, handover::attach) {
            Some(Some(attached)) => handover::to_wire(&attached),
            // Nobody else could tell that from a query that is just being accepted here.
            _ if shared.driver.is_gone(query) => Err(gone()),
            _ => Err(unknown(query)),
        },
    };
    let answer = answer.unwrap_or_else(|error| match error.class {
        ErrorClass::NotFound if is_on_its_way(shared, query) => Answer::Coming(cluster::Empty {}),
        _ => Answer::Failed(error_to_failed(&error)),
    });
    Ok(cluster::ForwardResponse {
        answer: Some(answer),
    })
}

/// Whether a query is about to have its next owner, here or elsewhere. One that leaves has none of its
/// queries any more as soon as its journal is over, and may learn that before it knows that all are handed
/// over.
fn is_on_its_way(shared: &Shared, query: QueryId) -> bool {
    let is_left_to_others = shared.is_draining() && shared.driver.has_moved(query);
    is_left_to_others || shared.journaling.passing.is_coming(query)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use paceline_model::Epoch;
    use paceline_proto::query_bytes;

    use super::*;
    use crate::testing::{record, shared};

    /// What a scheduler says of a query when it is asked how that stands.
    async fn asked(shared: &Arc<Shared>, query: QueryId) -> Answer {
        let service = Service::new(Arc::clone(shared));
        let request = cluster::ForwardRequest {
            query: query_bytes(query),
            operation: Some(Operation::Status(cluster::Empty {})),
            to: shared.driver.me().to_string(),
        };
        let answered = answer(&service, request).await.unwrap();
        answered.answer.unwrap()
    }

    #[tokio::test]
    async fn who_is_about_to_adopt_a_query_does_not_deny_it() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let query = record().query;
        assert!(matches!(asked(&shared, query).await, Answer::Failed(_)));
        shared.journaling.passing.begin(query, Epoch(1));
        assert!(matches!(asked(&shared, query).await, Answer::Coming(_)));
        shared.stop.cancel();
    }

    /// Who asks would take it for one that ended a while ago, before another scheduler has it.
    #[tokio::test]
    async fn what_one_that_leaves_has_left_to_others_is_not_denied() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let record = record();
        let query = record.query;
        shared.driver.submit(record, None);
        shared.begin_draining();
        assert!(matches!(asked(&shared, query).await, Answer::Status(_)));
        shared.driver.close();
        assert!(matches!(asked(&shared, query).await, Answer::Coming(_)));
        shared.stop.cancel();
    }
}
