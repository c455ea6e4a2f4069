//! What time has to take away: names that stay long after they have a meaning.
//!
//! ```text
//!   journal/{scheduler}/…      the seals and the marker of a drained journal
//!   owners/{query}/…           the claims on a query that no journal holds any more
//!   queries/{query}/…          its acceptance and its outcome, once its result is gone
//!   results/{query}/…          parts of a result whose query never got an outcome
//!   probe/…                    what a process left that died while it looked at the store
//!   …#1                        what an interrupted upload left in a directory; see the module `staged`
//! ```
//!
//! A name that is deleted could be created again by a write that was delayed, or by a process that
//! slept and does not know that it was given up. So all of these stay for longer than any process or
//! request can live, and only then go. How old an object is, is what the store says of it against
//! what the store says of the newest beacon: one clock, and not that of any scheduler. No clock
//! decides what means something: what a journal holds, or a result belongs to, stays however old it
//! is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use paceline_model::QueryId;

use crate::listing::Found;
use crate::{
    Claims, JournalError, Journals, Key, Members, ResultError, Results, StateStore, StoreError,
    staged,
};

/// Why garbage may be left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GarbageError {
    /// The state store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in use is not known.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A result could not be removed.
    #[error(transparent)]
    Result(#[from] ResultError),
    /// What interrupted uploads left could not be removed.
    #[error(
        "what interrupted uploads left in {location} could not be removed: {reason}. Check that this user may write to all of the directory"
    )]
    Staged {
        /// The state location.
        location: String,
        /// What the file system said.
        reason: String,
    },
}

/// How much of each kind went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Folders of drained journals.
    pub journals: usize,
    /// Adoption claims.
    pub claims: usize,
    /// Acceptances and outcomes.
    pub outcomes: usize,
    /// Results without an outcome.
    pub results: usize,
    /// Keys of probes.
    pub probes: usize,
    /// Files of interrupted uploads.
    pub staged: usize,
}

/// Everything of a cluster that only time takes away.
#[derive(Debug, Clone)]
pub struct Garbage {
    store: StateStore,
    journals: Journals,
    results: Results,
}

/// What is old, and what is in use whatever its age.
struct Sight {
    /// Objects that the store changed last before this time, in milliseconds of its clock.
    before: i64,
    held: BTreeSet<QueryId>,
    kept: BTreeSet<QueryId>,
}

impl Garbage {
    /// The garbage of the store's cluster.
    pub fn new(store: StateStore, journals: Journals, results: Results) -> Self {
        Garbage {
            store,
            journals,
            results,
        }
    }

    /// Takes away what has been without meaning and untouched for `age`. Without a beacon there is no
    /// time to compare with, and nothing goes. Several schedulers may do this at once.
    ///
    /// # Errors
    /// [`GarbageError`] if some of it may be left, or it is not known what is in use.
    pub async fn sweep(&self, age: Duration) -> Result<Swept, GarbageError> {
        let Some(now) = Members::new(self.store.clone()).last_beat().await? else {
            return Ok(Swept::default());
        };
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let before = now.saturating_sub(age);
        // Names before the journals that may give them a meaning: what is adopted meanwhile has a
        // claim that is not among them, and is seen when its folder is looked at again.
        let owners = self.old_folders("owners", before).await?;
        let queries = self.old_folders("queries", before).await?;
        let results = self.old_folders("results", before).await?;
        let sight = Sight {
            before,
            held: self.journals.held().await?,
            kept: self.results.queries().await?.into_iter().collect(),
        };
        Ok(Swept {
            staged: self.staged(before).await?,
            results: self.orphaned_results(&sight, results).await?,
            claims: self.claims(&sight, owners).await?,
            outcomes: self.outcomes(&sight, queries).await?,
            journals: self.journals.remove_drained(before).await?,
            probes: self.probes(before).await?,
        })
    }

    /// The queries' folders below a name in which everything is old.
    async fn old_folders(&self, top: &str, before: i64) -> Result<Vec<QueryId>, StoreError> {
        let mut old: BTreeMap<QueryId, bool> = BTreeMap::new();
        for found in self.store.found(&Key::new(top), None).await? {
            // What has no query's name is not of this crate's making.
            if let Some(query) = found.key.part(1).and_then(|name| name.parse().ok()) {
                *old.entry(query).or_insert(true) &= found.is_older(before);
            }
        }
        Ok(old
            .into_iter()
            .filter(|(_, old)| *old)
            .map(|(query, _)| query)
            .collect())
    }

    async fn orphaned_results(
        &self,
        sight: &Sight,
        queries: Vec<QueryId>,
    ) -> Result<usize, GarbageError> {
        let mut removed = 0;
        for query in queries {
            if sight.held.contains(&query) || self.has_outcome(query).await? {
                continue;
            }
            self.results.remove(query).await?;
            removed += 1;
        }
        Ok(removed)
    }

    async fn has_outcome(&self, query: QueryId) -> Result<bool, StoreError> {
        let outcome = Claims::outcome_key(query);
        Ok(self.store.get(&outcome).await?.is_some())
    }

    /// From the highest epoch down: those who follow the claims upwards never meet a hole.
    async fn claims(&self, sight: &Sight, queries: Vec<QueryId>) -> Result<usize, GarbageError> {
        let mut removed = 0;
        for query in queries {
            if sight.held.contains(&query) {
                continue;
            }
            let folder = Key::new("owners").child(&query.to_string());
            let mut claims = self.all_old(&folder, sight.before).await?;
            claims.reverse();
            removed += self.remove(claims).await?;
        }
        Ok(removed)
    }

    /// The acceptance first: who finds an outcome accepts nothing.
    async fn outcomes(&self, sight: &Sight, queries: Vec<QueryId>) -> Result<usize, GarbageError> {
        let mut removed = 0;
        for query in queries {
            if sight.held.contains(&query) || sight.kept.contains(&query) {
                continue;
            }
            let outcome = Claims::outcome_key(query);
            let folder = Key::new("queries").child(&query.to_string());
            let mut names = self.all_old(&folder, sight.before).await?;
            names.sort_by_key(|key| *key == outcome);
            removed += self.remove(names).await?;
        }
        Ok(removed)
    }

    async fn staged(&self, before: i64) -> Result<usize, GarbageError> {
        let remove = move |directory: &Path| staged::remove(directory, before);
        let removed = self.store.in_directory(remove).await.unwrap_or(Ok(0));
        removed.map_err(|error| GarbageError::Staged {
            location: self.store.location().to_string(),
            reason: error.to_string(),
        })
    }

    async fn probes(&self, before: i64) -> Result<usize, GarbageError> {
        let found = self.store.found(&Key::new("probe"), None).await?;
        let old = found.into_iter().filter(|found| found.is_older(before));
        self.remove(old.map(|found| found.key).collect()).await
    }

    /// What is in a folder; nothing, if any of it is young.
    async fn all_old(&self, folder: &Key, before: i64) -> Result<Vec<Key>, StoreError> {
        let found = self.store.found(folder, None).await?;
        Ok(match found.iter().all(|found| found.is_older(before)) {
            true => found.into_iter().map(|found: Found| found.key).collect(),
            false => Vec::new(),
        })
    }

    async fn remove(&self, keys: Vec<Key>) -> Result<usize, GarbageError> {
        for key in &keys {
            self.store.delete(key).await?;
        }
        Ok(keys.len())
    }
}
