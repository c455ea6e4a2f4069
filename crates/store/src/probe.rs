//! Finds out, before anything rests on it, whether a store keeps its word.

use futures::future::join_all;
use uuid::Uuid;

use crate::{Created, Key, StateStore, StoreError};

const ROUNDS: u64 = 3;
const RACERS: usize = 8;

/// A store that cannot hold shared state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// It cannot even be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It overwrites what it was told to create only if absent.
    #[error(
        "the store at {location} cannot hold shared state: told to create a key that exists, it {did}. Paceline needs a store that honours conditional writes (If-None-Match: *), as S3, GCS, Azure, MinIO, Ceph and local directories do"
    )]
    IgnoresCondition {
        /// The state location.
        location: String,
        /// What it did instead.
        did: &'static str,
    },
    /// Of several creates of one key at the same time, not exactly one won.
    #[error(
        "the store at {location} cannot hold shared state: of {racers} simultaneous creates of one key, {winners} were told that they won, where exactly one must. Schedulers that share it would both own a query; use a store whose conditional writes are atomic"
    )]
    Race {
        /// The state location.
        location: String,
        /// How many raced.
        racers: usize,
        /// How many were told that they won.
        winners: usize,
    },
    /// What was written could not be read.
    #[error(
        "the store at {location} cannot hold shared state: what was just created {symptom}. Paceline needs reads and listings that show finished writes"
    )]
    NotVisible {
        /// The state location.
        location: String,
        /// What was seen instead.
        symptom: &'static str,
    },
}

/// Checks that the store creates, reads, lists and deletes as shared state needs it: races several
/// creates of one key, creates one twice, and reads and lists what it wrote. Removes its keys.
///
/// # Errors
/// [`ProbeError`] says what the store does wrong, or why it cannot be used at all.
pub async fn probe(store: &StateStore) -> Result<(), ProbeError> {
    let folder = Key::new("probe").child(&Uuid::new_v4().to_string());
    let keys: Vec<Key> = (0..=ROUNDS).map(|round| folder.numbered(round)).collect();
    // A read first: a store that cannot be reached is told from one that may have written.
    store.get(&folder).await?;
    let found = check(store, &folder, &keys).await;
    for removed in join_all(keys.iter().map(|key| store.delete(key))).await {
        match (removed, &found) {
            (Err(error), Ok(())) => return Err(error.into()),
            (Err(error), Err(_)) => tracing::debug!(%error, "a key of the probe stays behind"),
            (Ok(()), _) => {}
        }
    }
    found
}

async fn check(store: &StateStore, folder: &Key, keys: &[Key]) -> Result<(), ProbeError> {
    if let Some((first, rest)) = keys.split_first() {
        create_twice(store, first).await?;
        for key in rest {
            race(store, key).await?;
        }
    }
    if store.list(folder, None).await? == keys {
        Ok(())
    } else {
        Err(not_visible(store, "was missing from a listing"))
    }
}

async fn create_twice(store: &StateStore, key: &Key) -> Result<(), ProbeError> {
    let ignores = |did| ProbeError::IgnoresCondition {
        location: store.location().to_string(),
        did,
    };
    if store.create(key, b"first").await? != Created::Won {
        return Err(ignores("found something under a name nobody had used"));
    }
    if store.create(key, b"second").await? == Created::Won {
        return Err(ignores("overwrote it"));
    }
    match store.get(key).await?.as_deref() {
        Some(b"first") => Ok(()),
        Some(_) => Err(ignores("refused, and changed it all the same")),
        None => Err(not_visible(store, "could not be read")),
    }
}

async fn race(store: &StateStore, key: &Key) -> Result<(), ProbeError> {
    let runs: Vec<_> = (0..RACERS)
        .map(|racer| {
            let (store, key) = (store.clone(), key.clone());
            // Tasks of their own, so that a store that works in this process meets real threads.
            tokio::spawn(async move {
                let payload = racer.to_string();
                (store.create(&key, payload.as_bytes()).await, payload)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for run in join_all(runs).await {
        // A racer cannot panic; one that was stopped with the runtime did not win.
        let Ok((created, payload)) = run else {
            continue;
        };
        if created? == Created::Won {
            winners.push(payload);
        }
    }
    let [winner] = winners.as_slice() else {
        return Err(ProbeError::Race {
            location: store.location().to_string(),
            racers: RACERS,
            winners: winners.len(),
        });
    };
    match store.get(key).await? {
        Some(there) if there == winner.as_bytes() => Ok(()),
        Some(_) => Err(not_visible(store, "was replaced by a write that had lost")),
        None => Err(not_visible(store, "could not be read")),
    }
}

fn not_visible(store: &StateStore, symptom: &'static str) -> ProbeError {
    ProbeError::NotVisible {
        location: store.location().to_string(),
        symptom,
    }
}
