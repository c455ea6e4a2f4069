//! Which queries have an outcome. What it says is told by [`Claims::outcome`].

use std::collections::BTreeSet;

use paceline_model::QueryId;

use crate::{Claims, Key, StateStore, StoreError};

/// The outcomes below one root, as far as a listing shows them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outcomes {
    store: StateStore,
}

impl Outcomes {
    /// The outcomes in a store.
    pub fn new(store: StateStore) -> Self {
        Outcomes { store }
    }

    /// The queries that have an outcome. As every listing it may lag behind creates.
    ///
    /// # Errors
    /// [`StoreError`] if the store does not answer with a whole listing.
    pub async fn queries(&self) -> Result<BTreeSet<QueryId>, StoreError> {
        let keys = self.store.list(&Key::new("queries"), None).await?;
        let ended = keys.iter().filter_map(|key| {
            let query: QueryId = key.part(1)?.parse().ok()?;
            (*key == Claims::outcome_key(query)).then_some(query)
        });
        Ok(ended.collect())
    }
}
