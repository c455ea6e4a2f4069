//! The list of all schedulers' queries.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use paceline_frontend::{QueryFilter, QueryPage};
use paceline_model::{ErrorClass, QueryError};
use paceline_proto::cluster;
use paceline_store::Beacon;

use crate::endings;
use crate::shared::Shared;

/// How long a peer may take to list its queries, and the state store to tell of those that have ended. A
/// list is better short than late.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// The queries of all live schedulers, and those that have an outcome.
pub(crate) async fn list(
    shared: &Arc<Shared>,
    filter: &QueryFilter,
) -> Result<QueryPage, QueryError> {
    let json = serde_json::to_vec(filter).map_err(|e| bug(&e))?;
    let peers = shared.membership.peers();
    let asked = join_all(peers.iter().map(|peer| ask(shared, peer, json.clone())));
    let (asked, incomplete) = tokio::join!(asked, endings::look(shared, filter));
    let mut pages = vec![own(shared, filter)];
    pages.extend(asked);
    let ended = endings::page(shared, filter, &pages).await;
    pages.push(ended);
    let mut list = QueryPage::merged(pages, filter);
    list.incomplete = incomplete.or(list.incomplete);
    Ok(list)
}

fn own(shared: &Shared, filter: &QueryFilter) -> QueryPage {
    QueryPage::of(shared.driver.statuses(), filter)
}

/// The queries of one peer; an empty page that names it if it does not answer.
async fn ask(shared: &Shared, peer: &Beacon, filter: Vec<u8>) -> QueryPage {
    let answer = tokio::time::timeout(PATIENCE, fetch(shared, peer, filter)).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
    answer.unwrap_or_else(|reason| {
        tracing::debug!(peer = %peer.scheduler, reason, "a list goes without a peer's queries");
        QueryPage {
            unreachable: vec![peer.scheduler.clone()],
            ..QueryPage::default()
        }
    })
}

async fn fetch(shared: &Shared, peer: &Beacon, filter: Vec<u8>) -> Result<QueryPage, String> {
    let client = shared.peers.client(&peer.addresses.cluster);
    let mut client = client.map_err(|e| e.message)?;
    let request = cluster::ListRequest {
        filter: filter.into(),
    };
    let answer = client.list(request).await.map_err(|e| e.to_string())?;
    serde_json::from_slice(&answer.into_inner().page).map_err(|e| e.to_string())
}

/// Answers another scheduler with this one's queries.
pub(crate) fn answer(
    shared: &Shared,
    request: &cluster::ListRequest,
) -> Result<cluster::ListResponse, QueryError> {
    let filter: QueryFilter = serde_json::from_slice(&request.filter).map_err(|e| {
        let message = format!("the filter of a list cannot be read: {e}");
        QueryError::new(ErrorClass::User, message)
    })?;
    let page = serde_json::to_vec(&own(shared, &filter)).map_err(|e| bug(&e))?;
    Ok(cluster::ListResponse { page: page.into() })
}

fn bug(error: &serde_json::Error) -> QueryError {
    QueryError::new(ErrorClass::Bug, format!("a list of queries: {error}"))
}
