//! The journals of all schedulers: which there are, and how they go.

use std::collections::{BTreeMap, BTreeSet};

use paceline_model::{QueryId, SchedulerId};

use super::segment::{self, folder};
use super::{Book, JournalError, JournalMetrics};
use crate::listing::Found;
use crate::{Key, StateStore, StoreError, record};

const RECORD_VERSION: u32 = 1;

/// What a journal says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replayed {
    /// What its records add up to.
    pub book: Book,
    /// The first segment that counts.
    pub base: u64,
    /// The number that the next segment would get.
    pub next: u64,
    /// What could not be read, where, and why. It counts for nothing, and everything else counts.
    pub left_out: Vec<String>,
    /// Whether nothing in it matters any more. Then the book is empty, whatever is left of it.
    pub drained: bool,
}

impl Replayed {
    /// Whether nothing comes after it.
    pub(super) fn is_over(&self) -> bool {
        self.drained || self.sealed_by().is_some()
    }

    /// Who ended the journal, if it is over.
    pub fn sealed_by(&self) -> Option<&SchedulerId> {
        self.book.standing().sealed_by()
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct DrainedRecord {
    v: u32,
    by: SchedulerId,
}

/// All journals of a cluster.
#[derive(Debug, Clone)]
pub struct Journals {
    pub(super) store: StateStore,
    pub(super) metrics: JournalMetrics,
}

impl Journals {
    /// The journals of the store's cluster.
    pub fn new(store: StateStore, metrics: JournalMetrics) -> Self {
        Journals { store, metrics }
    }

    pub(super) fn store(&self) -> &StateStore {
        &self.store
    }

    pub(super) fn metrics(&self) -> &JournalMetrics {
        &self.metrics
    }

    /// Every scheduler that has a journal or had one, in order of their names.
    ///
    /// # Errors
    /// [`JournalError`] if the store cannot say.
    pub async fn schedulers(&self) -> Result<Vec<SchedulerId>, JournalError> {
        let keys = self.store.list(&Key::new("journal"), None).await?;
        let names = keys.iter().map(Key::to_string);
        let mut names: Vec<_> = names.filter_map(|key| scheduler_of(&key)).collect();
        names.dedup();
        Ok(names)
    }

    /// Every scheduler whose journal may still mean something, in order of their names.
    ///
    /// # Errors
    /// [`JournalError`] if the store cannot say.
    pub async fn undrained(&self) -> Result<Vec<SchedulerId>, JournalError> {
        let keys = self.store.list(&Key::new("journal"), None).await?;
        let mut open: BTreeMap<SchedulerId, bool> = BTreeMap::new();
        for key in &keys {
            if let Some(scheduler) = scheduler_of(&key.to_string()) {
                let drained = *key == drained_key(&scheduler);
                *open.entry(scheduler).or_default() |= drained;
            }
        }
        let open = open.into_iter().filter(|(_, drained)| !drained);
        Ok(open.map(|(scheduler, _)| scheduler).collect())
    }

    /// The queries that any journal holds which may still mean something.
    ///
    /// # Errors
    /// [`JournalError`] if any of them cannot be read.
    pub(crate) async fn held(&self) -> Result<BTreeSet<QueryId>, JournalError> {
        let mut held = BTreeSet::new();
        for journal in self.undrained().await? {
            let replayed = self.replay(&journal).await?;
            held.extend(replayed.book.queries().map(|(query, _)| query));
        }
        Ok(held)
    }

    /// Removes all that is left of drained journals to which nobody wrote since `before`, the marker
    /// last: as long as it is there, nothing beside it means anything. Returns how many went.
    pub(crate) async fn remove_drained(&self, before: i64) -> Result<usize, JournalError> {
        let mut folders: BTreeMap<SchedulerId, Vec<Found>> = BTreeMap::new();
        for found in self.store.found(&Key::new("journal"), None).await? {
            if let Some(scheduler) = scheduler_of(&found.key.to_string()) {
                folders.entry(scheduler).or_default().push(found);
            }
        }
        let mut removed = 0;
        for (scheduler, found) in folders {
            let marker = drained_key(&scheduler);
            let drained = found.iter().any(|found| found.key == marker);
            if !drained || !found.iter().all(|found| found.is_older(before)) {
                continue;
            }
            for seal in found.iter().filter(|found| found.key != marker) {
                self.store.delete(&seal.key).await?;
            }
            self.store.delete(&marker).await?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Marks a sealed journal as drained. Only to be called when each of its queries is settled, as
    /// [`Step::Drain`](paceline_core::ownership::Step::Drain) says.
    ///
    /// # Errors
    /// [`JournalError`] if the marker may not be there; asking again is harmless.
    pub async fn mark_drained(
        &self,
        journal: &SchedulerId,
        by: &SchedulerId,
    ) -> Result<(), JournalError> {
        let body = record::encode(&DrainedRecord {
            v: RECORD_VERSION,
            by: by.clone(),
        });
        self.store.create(&drained_key(journal), &body).await?;
        Ok(())
    }

    /// Removes what a drained journal holds, except its seal and its marker, which keep late writes
    /// from meaning anything. Returns how many segments went.
    ///
    /// # Errors
    /// [`JournalError::NotDrained`] without a marker, or any failure of the store.
    pub async fn remove_segments(&self, journal: &SchedulerId) -> Result<usize, JournalError> {
        let keys = self.store.list(&folder(journal), None).await?;
        if !keys.contains(&drained_key(journal)) {
            return Err(JournalError::NotDrained {
                journal: journal.clone(),
            });
        }
        let numbers: Vec<u64> = keys.iter().filter_map(Key::number).collect();
        let mut removed = 0;
        for seq in numbers {
            let goes = match self.get(journal, seq).await {
                Ok(found) => {
                    found.is_some_and(|found| segment::sealed_by(&found.segment).is_none())
                }
                // It counts for nothing, or the journal would not be drained.
                Err(StoreError::Corrupt { .. }) => true,
                Err(error) => return Err(error.into()),
            };
            if goes {
                self.store.delete(&folder(journal).numbered(seq)).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes the segments before `base`, upwards: as long as one is there, so are those after it.
    pub(super) async fn truncate(
        &self,
        journal: &SchedulerId,
        base: u64,
    ) -> Result<usize, JournalError> {
        let keys = self.store.list(&folder(journal), None).await?;
        let numbers = keys.iter().filter_map(Key::number);
        let before: Vec<u64> = numbers.filter(|seq| *seq < base).collect();
        for seq in &before {
            self.store.delete(&folder(journal).numbered(*seq)).await?;
        }
        Ok(before.len())
    }
}

pub(super) fn drained_key(journal: &SchedulerId) -> Key {
    folder(journal).child("drained")
}

/// The scheduler whose journal a key is in. Keys write odd characters as `%` and two hex digits.
fn scheduler_of(key: &str) -> Option<SchedulerId> {
    let mut parts = key.split('/');
    let (Some("journal"), Some(name), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let mut pieces = name.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().map(SchedulerId::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_tells_whose_it_is() {
        for name in ["s1", "a b/c", "50%", "ü"] {
            let scheduler = SchedulerId::new(name);
            let key = folder(&scheduler).numbered(3).to_string();
            assert_eq!(scheduler_of(&key), Some(scheduler), "{key}");
        }
        assert_eq!(scheduler_of("members/s1"), None);
    }
}
