//! Queries that have an outcome, for lists: whoever drove them may be dead, or have begun anew and remember
//! nothing of them.
//!
//! An outcome is made once and never changed. So a scheduler reads each once, when somebody asks for a list,
//! and keeps what it takes to choose among all of them; those of a page are read again, unless a scheduler
//! that lives tells of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use paceline_frontend::{Place, QueryFilter, QueryPage};
use paceline_model::{QueryId, QueryState, QueryStatus, SchedulerId};
use paceline_store::{Claims, Outcomes, StoreError};
use parking_lot::Mutex;
use tokio::sync::{Mutex as Gate, oneshot};
use tokio::time::timeout;

use crate::enqueued::status_of;
use crate::listing::PATIENCE;
use crate::shared::Shared;

/// How many outcomes are read at a time.
const READS: usize = 32;

/// What it takes to choose a query that has ended.
#[derive(Debug)]
struct Ended {
    place: Place,
    state: QueryState,
    owner: SchedulerId,
}

impl Ended {
    fn of(status: QueryStatus) -> Self {
        Ended {
            place: Place::of(&status),
            state: status.state,
            owner: status.owner,
        }
    }
}

/// All outcomes, as far as this scheduler has read them.
#[derive(Debug)]
pub(crate) struct Endings {
    outcomes: Outcomes,
    claims: Claims,
    /// None of an outcome that cannot be read, or does not say what the query was.
    known: Mutex<BTreeMap<QueryId, Option<Ended>>>,
    /// One look at a time.
    gate: Arc<Gate<()>>,
}

impl Endings {
    pub(crate) fn new(outcomes: Outcomes, claims: Claims) -> Self {
        Endings {
            outcomes,
            claims,
            known: Mutex::default(),
            gate: Arc::default(),
        }
    }

    /// Reads the outcomes that are not known yet, and forgets those that are gone.
    async fn look(&self) -> Result<(), StoreError> {
        let mut unread = self.outcomes.queries().await?;
        {
            let mut known = self.known.lock();
            known.retain(|query, _| unread.contains(query));
            unread.retain(|query| !known.contains_key(query));
        }
        stream::iter(unread.into_iter().map(Ok))
            .try_for_each_concurrent(READS, |query| self.read(query))
            .await
    }

    async fn read(&self, query: QueryId) -> Result<(), StoreError> {
        let ended = match self.claims.outcome(query).await {
            Ok(Some(ending)) => status_of(query, &ending).ok().map(Ended::of),
            // It has gone since it was listed.
            Ok(None) => return Ok(()),
            Err(error @ (StoreError::Corrupt { .. } | StoreError::Newer { .. })) => {
                tracing::warn!(%query, %error, "lists leave out a query whose outcome cannot be read");
                None
            }
            Err(error) => return Err(error),
        };
        self.known.lock().insert(query, ended);
        Ok(())
    }

    /// How a query ended; none if its outcome is gone, or does not say what the query was.
    async fn status(&self, query: QueryId) -> Result<Option<QueryStatus>, StoreError> {
        let ending = self.claims.outcome(query).await?;
        Ok(ending.and_then(|ending| status_of(query, &ending).ok()))
    }

    /// The places of those that are wanted, the latest first.
    fn chosen(&self, filter: &QueryFilter) -> Vec<Place> {
        let known = self.known.lock();
        let wanted = known.values().flatten();
        let wanted = wanted.filter(|it| filter.admits(it.place, it.state, &it.owner));
        let mut places: Vec<Place> = wanted.map(|it| it.place).collect();
        places.sort_unstable_by_key(|place| Reverse(*place));
        places
    }
}

/// Whether a filter wants any query that has ended.
fn wants_ended(filter: &QueryFilter) -> bool {
    filter.states.is_empty() || filter.states.iter().any(|state| state.is_final())
}

/// Reads what is not known yet of those that have ended, if such are wanted. Says why some may be missing,
/// if that cannot be done, or takes too long: then it goes on for whoever asks again.
pub(crate) async fn look(shared: &Arc<Shared>, filter: &QueryFilter) -> Option<String> {
    if !wants_ended(filter) {
        return None;
    }
    let look = async {
        let only = Arc::clone(&shared.endings.gate).lock_owned().await;
        let (tell, told) = oneshot::channel();
        let looking = Arc::clone(shared);
        shared.spawn_until_stopped(async move {
            let looked = looking.endings.look().await;
            drop(only);
            // Who asked may be gone.
            let _ = tell.send(looked);
        });
        told.await
    };
    match timeout(PATIENCE, look).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(error.to_string()),
        Ok(Err(_)) => Some("this scheduler is stopping".to_string()),
        Err(_) => Some(late()),
    }
}

fn late() -> String {
    format!("not all outcomes were read from the state store within {PATIENCE:?}: ask again")
}

/// The page of those that have ended and of which none of these pages tells.
pub(crate) async fn page(shared: &Shared, filter: &QueryFilter, told: &[QueryPage]) -> QueryPage {
    if !wants_ended(filter) {
        return QueryPage::default();
    }
    let told = told.iter().flat_map(|page| &page.queries);
    let told = told.filter(|status| status.state.is_final());
    let told: BTreeSet<QueryId> = told.map(|status| status.query).collect();
    let mut places = shared.endings.chosen(filter);
    let more = places.len() > filter.limit;
    places.truncate(filter.limit);
    let unread = places.into_iter().map(|place| place.query);
    let unread = unread.filter(|query| !told.contains(query));
    let reads: Vec<_> = unread.map(|query| shared.endings.status(query)).collect();
    let reads = stream::iter(reads).buffered(READS).collect::<Vec<_>>();
    let (mut queries, mut incomplete) = (Vec::new(), None);
    match timeout(PATIENCE, reads).await {
        Ok(read) => {
            for status in read {
                match status {
                    Ok(status) => queries.extend(status),
                    Err(error) => incomplete = Some(error.to_string()),
                }
            }
        }
        Err(_) => incomplete = Some(late()),
    }
    QueryPage {
        more,
        incomplete,
        ..QueryPage::of(queries, filter)
    }
}
