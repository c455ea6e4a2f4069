//! What schedulers keep in the state store, read as one more process would, and swept as though a long time
//! had gone by.

use std::collections::BTreeSet;
use std::time::Duration;

use paceline_model::{Epoch, QueryId, SchedulerId};
use paceline_store::{
    Claims, Garbage, JournalMetrics, Journals, Key, Limits, Replayed, Results, StateLocation,
    StateStore, StoreMetrics,
};
use prometheus::Registry;

use super::world::text;

/// Names that mean nothing once their queries have ended: claims, acceptances and outcomes, and what the
/// look at a store left of which its process died.
const FOLDERS: [&str; 3] = ["owners", "queries", "probe"];

/// The state of a cluster.
pub(crate) struct State {
    pub(crate) store: StateStore,
    pub(crate) journals: Journals,
    claims: Claims,
}

impl State {
    pub(crate) fn open(location: &StateLocation) -> Result<State, String> {
        let registry = Registry::new();
        let metrics = StoreMetrics::register(&registry).map_err(text)?;
        let store = StateStore::open(location, Limits::default(), metrics).map_err(text)?;
        let metrics = JournalMetrics::register(&registry).map_err(text)?;
        Ok(State {
            journals: Journals::new(store.clone(), metrics.clone()),
            claims: Claims::new(store.clone(), metrics),
            store,
        })
    }

    /// Whether the journal of a scheduler holds a query.
    pub(super) async fn holds(&self, journal: &SchedulerId, query: QueryId) -> bool {
        let replayed = self.journals.replay(journal).await;
        replayed.is_ok_and(|replayed| replayed.book.held(query).is_some())
    }

    /// How many queries of its journal a scheduler drives. Those that others claimed stay there until its
    /// next snapshot, and mean nothing.
    pub(crate) async fn owned(
        &self,
        journal: &SchedulerId,
        held: &Replayed,
    ) -> Result<usize, String> {
        let claims = &self.claims;
        let mut owned = 0;
        for (query, held) in held.book.queries() {
            let epoch = held.epoch;
            let claimed = match epoch {
                Epoch(0) => claims.submitter(query).await,
                _ => claims.adopter(query, epoch).await,
            };
            // A query that somebody waits for is claimed by nobody at first.
            let mine = match claimed.map_err(text)? {
                Some(by) => by == *journal,
                None => epoch == Epoch(0),
            };
            let passed_on = claims.adopter(query, epoch.next()).await.map_err(text)?;
            owned += usize::from(mine && passed_on.is_none());
        }
        Ok(owned)
    }

    /// How many segments there are of a journal.
    pub(crate) async fn segments(&self, journal: &SchedulerId) -> Result<usize, String> {
        let folder = Key::new("journal").child(journal.as_str());
        let keys = self.store.list(&folder, None).await.map_err(text)?;
        Ok(keys.iter().filter(|key| key.number().is_some()).count())
    }

    /// Takes away what only time takes away, as though all of it had been there for long enough, and says
    /// what is left that is nobody's: of schedulers that do not live, and of queries whose results are not
    /// kept.
    pub(crate) async fn left_by_a_sweep(
        &self,
        live: &BTreeSet<SchedulerId>,
        kept: &[QueryId],
    ) -> Result<Vec<String>, String> {
        let results = Results::new(self.store.clone());
        let garbage = Garbage::new(self.store.clone(), self.journals.clone(), results);
        garbage.sweep(Duration::ZERO).await.map_err(text)?;
        let kept = kept.iter().map(|query| format!("queries/{query}/"));
        let kept: Vec<String> = kept.collect();
        let is_kept = |key: &String| kept.iter().any(|folder| key.starts_with(folder));
        let mut left = Vec::new();
        for folder in FOLDERS {
            let keys = self.store.list(&Key::new(folder), None).await;
            let keys = keys.map_err(text)?.into_iter().map(|key| key.to_string());
            left.extend(keys.filter(|key| !is_kept(key)));
        }
        let journals = self.journals.schedulers().await.map_err(text)?;
        let gone = journals.iter().filter(|journal| !live.contains(journal));
        left.extend(gone.map(|journal| format!("the journal of {journal}, which is gone")));
        Ok(left)
    }
}
