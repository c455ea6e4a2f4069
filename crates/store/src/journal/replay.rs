//! Reading journals, and ending those of others.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use paceline_core::ownership::{Chain, Gap, Take};
use paceline_model::{QueryId, SchedulerId};
use paceline_proto::state::record::Record as Kind;
use paceline_proto::state::{Record, Seal};

use super::salvage::Readable;
use super::segment::{self, folder};
use super::{Book, JournalError, JournalMetrics};
use crate::listing::Found;
use crate::{Created, Key, StateStore, StoreError, record};

/// How many segments are read at once.
const READERS: usize = 16;
/// How often a journal is read again when it changed meanwhile.
const TRIES: u32 = 32;
/// How many segments a seal follows before the journal is read again.
const SEALS: u64 = 1000;
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
    store: StateStore,
    metrics: JournalMetrics,
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

    /// Reads a journal to its end. One that does not exist is empty.
    ///
    /// # Errors
    /// [`JournalError`] if the store cannot be read, a segment is missing or is not understood.
    pub async fn replay(&self, journal: &SchedulerId) -> Result<Replayed, JournalError> {
        let mut missing = 0;
        for _ in 0..TRIES {
            // A gap means that segments were removed between the listing and the reads.
            match self.read(journal).await? {
                Ok(replayed) => return Ok(replayed),
                Err(gap) => missing = gap.missing,
            }
        }
        Err(JournalError::Missing {
            location: self.store.location().to_string(),
            journal: journal.clone(),
            missing,
        })
    }

    async fn read(&self, journal: &SchedulerId) -> Result<Result<Replayed, Gap>, JournalError> {
        let folder = folder(journal);
        let keys = self.store.list(&folder, None).await?;
        if keys.contains(&drained_key(journal)) {
            let drained = true;
            return Ok(Ok(Replayed {
                drained,
                ..Replayed::default()
            }));
        }
        let numbers: Vec<u64> = keys.iter().filter_map(Key::number).collect();
        let mut segments: BTreeMap<u64, Readable> = stream::iter(numbers)
            .map(|seq| async move { Ok::<_, StoreError>((seq, self.get(journal, seq).await?)) })
            .buffered(READERS)
            .try_filter_map(|(seq, found)| async move { Ok(found.map(|found| (seq, found))) })
            .try_collect()
            .await?;
        // The listing may lag behind.
        let mut next = segments.last_key_value().map_or(0, |(seq, _)| seq + 1);
        while let Some(found) = self.get(journal, next).await? {
            segments.insert(next, found);
            next += 1;
        }
        self.fold(journal, segments)
    }

    fn fold(
        &self,
        journal: &SchedulerId,
        segments: BTreeMap<u64, Readable>,
    ) -> Result<Result<Replayed, Gap>, JournalError> {
        let mut chain = Chain::default();
        let mut book = Book::default();
        let mut left_out = Vec::new();
        for (seq, found) in segments {
            match chain.offer(seq, segment::kind_of(&found.segment)) {
                Take::Begin => {
                    book = Book::default();
                    left_out.clear();
                }
                Take::Follow => {}
                Take::Skip => continue,
            }
            let key = folder(journal).numbered(seq);
            left_out.extend(found.left_out.iter().map(|what| format!("{key}: {what}")));
            book.apply(&found.segment.records)
                .map_err(|error| self.store.corrupt(&key, error.to_string()))?;
        }
        Ok(chain.next().map(|next| Replayed {
            book,
            base: chain.base(),
            next,
            left_out,
            drained: false,
        }))
    }

    async fn get(&self, journal: &SchedulerId, seq: u64) -> Result<Option<Readable>, StoreError> {
        let key = folder(journal).numbered(seq);
        match self.store.get(&key).await? {
            Some(payload) => segment::decode(&self.store, &key, &payload).map(Some),
            None => Ok(None),
        }
    }

    /// Ends a journal on behalf of `by`, unless it is over already, and returns what it held. Its
    /// scheduler owns nothing from then on.
    ///
    /// # Errors
    /// [`JournalError`] if it cannot be found out whether the journal is over; asking again is
    /// harmless.
    pub async fn seal(
        &self,
        journal: &SchedulerId,
        by: &SchedulerId,
    ) -> Result<Replayed, JournalError> {
        let mut created = false;
        for _ in 0..TRIES {
            let replayed = self.replay(journal).await?;
            if replayed.drained || replayed.sealed_by().is_some() {
                let won = created && replayed.sealed_by() == Some(by);
                self.count_seal(if won { "won" } else { "lost" });
                return Ok(replayed);
            }
            let tried = match self.try_seal(journal, by, replayed.next).await {
                Ok(Some(seq)) if seq == replayed.next => self.ended_by(journal, by, replayed).await,
                Ok(won) => {
                    created |= won.is_some();
                    continue;
                }
                Err(error) => Err(error),
            };
            created = true;
            match tried {
                Ok(Some(ended)) => {
                    self.count_seal("won");
                    return Ok(ended);
                }
                Ok(None) => {}
                Err(error) => {
                    self.count_seal("unknown");
                    return Err(error.into());
                }
            }
        }
        Err(JournalError::Contended {
            journal: journal.clone(),
            tries: TRIES,
        })
    }

    /// What a journal held, if the seal that `by` put right behind what was read of it ended it. None if
    /// that is not certain, because it may have taken the place of a segment that had been removed.
    ///
    /// Segments are removed upwards. So as long as the first one that counted is there, none after it was
    /// removed, and the seal is the next one. One look instead of another replay: a takeover waits for it.
    async fn ended_by(
        &self,
        journal: &SchedulerId,
        by: &SchedulerId,
        mut replayed: Replayed,
    ) -> Result<Option<Replayed>, StoreError> {
        let first = folder(journal).numbered(replayed.base);
        if replayed.base == replayed.next || self.store.get(&first).await?.is_none() {
            return Ok(None);
        }
        let seal = [seal_by(by)];
        let taken_in = replayed.book.apply(&seal);
        taken_in.map_err(|error| self.store.corrupt(&first, error.to_string()))?;
        replayed.next += 1;
        Ok(Some(replayed))
    }

    /// Tries to put a seal under the first free number from `next` on, and says under which it is. None
    /// if somebody else sealed the journal.
    async fn try_seal(
        &self,
        journal: &SchedulerId,
        by: &SchedulerId,
        next: u64,
    ) -> Result<Option<u64>, StoreError> {
        let (_, body) = segment::encode(vec![seal_by(by)]);
        // A writer that is alive may be as fast as this; the bound is far beyond its luck.
        for seq in next..next.saturating_add(SEALS) {
            let key = folder(journal).numbered(seq);
            match self.store.create(&key, &body).await? {
                Created::Won => return Ok(Some(seq)),
                Created::Exists(payload) => {
                    let found = segment::decode(&self.store, &key, &payload)?;
                    if segment::sealed_by(&found.segment).is_some() {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    fn count_seal(&self, outcome: &str) {
        self.metrics.seals.with_label_values(&[outcome]).inc();
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
            let found = self.get(journal, seq).await?;
            if found.is_some_and(|found| segment::sealed_by(&found.segment).is_none()) {
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

fn seal_by(by: &SchedulerId) -> Record {
    let kind = Kind::Seal(Seal { by: by.to_string() });
    Record { record: Some(kind) }
}

fn drained_key(journal: &SchedulerId) -> Key {
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
    use std::sync::Arc;

    use bytes::Bytes;
    use object_store::memory::InMemory;
    use paceline_proto::state::Accepted;
    use prometheus::Registry;

    use super::*;
    use crate::{Journal, JournalOptions, Limits, StoreMetrics};

    fn journals() -> Journals {
        let store = StateStore::over(
            Arc::new(InMemory::new()),
            "memory",
            Limits::default(),
            StoreMetrics::register(&Registry::new()).unwrap(),
        );
        Journals::new(store, JournalMetrics::register(&Registry::new()).unwrap())
    }

    fn accepted(n: u8) -> Record {
        let query = Bytes::copy_from_slice(&[n; 16]);
        let statement = None;
        let accepted = Accepted { query, statement };
        Record {
            record: Some(Kind::Accepted(accepted)),
        }
    }

    /// Between the replay of who seals and its create, the journal may become longer, and then short.
    #[tokio::test]
    async fn a_seal_in_the_place_of_a_removed_segment_ends_nothing() {
        let journals = journals();
        let [a, b] = ["a", "b"].map(SchedulerId::new);
        let journal = Journal::begin(a.clone(), journals.clone(), JournalOptions::default());
        journal.append(accepted(1)).await.unwrap();
        let early = journals.replay(&a).await.unwrap();
        assert_eq!((early.base, early.next), (0, 1));
        journal.append(accepted(2)).await.unwrap();
        journal.compact().await.unwrap().unwrap();
        let ghost = journals.try_seal(&a, &b, early.next).await;
        assert_eq!(ghost, Ok(Some(1)), "it was removed");
        assert_eq!(journals.ended_by(&a, &b, early).await, Ok(None));
        assert_eq!(journals.replay(&a).await.unwrap().sealed_by(), None);

        let sealed = journals.seal(&a, &b).await.unwrap();
        assert_eq!(sealed.sealed_by(), Some(&b));
        assert_eq!(sealed.book.queries().count(), 2);
        assert_eq!(journals.replay(&a).await, Ok(sealed), "as it lies there");
    }

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
