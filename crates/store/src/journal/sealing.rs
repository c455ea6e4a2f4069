//! Ending the journals of others.

use std::collections::BTreeSet;

use paceline_model::SchedulerId;
use paceline_proto::state::record::Record as Kind;
use paceline_proto::state::{Record, Seal};
use serde::{Deserialize, Serialize};

use super::reading::{Lack, TRIES};
use super::segment::{self, folder};
use super::{JournalError, Journals, Replayed};
use crate::{Created, Key, StoreError, record};

/// How many segments a seal follows before the journal is read again.
const SEALS: u64 = 1000;
const RECORD_VERSION: u32 = 1;

/// Which segments of a sealed journal count for nothing, because nobody can read them.
#[derive(Serialize, Deserialize)]
struct VoidRecord {
    v: u32,
    by: SchedulerId,
    segments: BTreeSet<u64>,
}

impl Journals {
    /// Ends a journal on behalf of `by`, unless it is over already, and returns what it held. Its
    /// scheduler owns nothing from then on, also if this fails because something cannot be read.
    ///
    /// # Errors
    /// [`JournalError`] if it cannot be found out whether the journal is over, or what it held; asking
    /// again is harmless.
    pub async fn seal(
        &self,
        journal: &SchedulerId,
        by: &SchedulerId,
    ) -> Result<Replayed, JournalError> {
        let (mut created, mut missing) = (false, None);
        for _ in 0..TRIES {
            let read = self.read(journal).await?;
            missing = None;
            match read.lacks {
                Some(Lack::Gap(gap)) => {
                    missing = Some(gap.missing);
                    continue;
                }
                Some(Lack::Unreadable(error)) => {
                    // What is not read keeps nobody from ending it.
                    if !read.replayed.is_over() {
                        self.try_seal(journal, by, read.end).await?;
                    }
                    return Err(error.into());
                }
                None if read.replayed.is_over() => {
                    let won = created && read.replayed.sealed_by() == Some(by);
                    self.count_seal(if won { "won" } else { "lost" });
                    return Ok(read.replayed);
                }
                None => {}
            }
            let next = read.replayed.next;
            let ended = match self.try_seal(journal, by, next).await {
                Ok(Some(seq)) if seq == next => {
                    created = true;
                    self.ended_by(journal, by, read.replayed).await
                }
                Ok(won) => {
                    created |= won.is_some();
                    continue;
                }
                Err(error) => Err(error),
            };
            match ended {
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
        Err(match missing {
            Some(missing) => self.missing(journal, missing),
            None => JournalError::Contended {
                journal: journal.clone(),
                tries: TRIES,
            },
        })
    }

    /// What a journal held, if the seal that `by` put right behind what was read of it ended it. None if
    /// that is not certain, because it may have taken the place of a segment that had been removed.
    ///
    /// Segments are removed upwards, and each has a snapshot behind it when it goes. So as long as the first
    /// one that counted is there, and nothing is behind the seal, none was removed and the seal is the next
    /// one. Two looks at once instead of another replay: a takeover waits for them.
    async fn ended_by(
        &self,
        journal: &SchedulerId,
        by: &SchedulerId,
        mut replayed: Replayed,
    ) -> Result<Option<Replayed>, StoreError> {
        if replayed.base == replayed.next {
            return Ok(None);
        }
        let folder = folder(journal);
        let first = folder.numbered(replayed.base);
        let seal = folder.numbered(replayed.next);
        let looks = futures::future::try_join(
            self.store.get(&first),
            self.store.list(&folder, Some(&seal)),
        );
        let (there, behind) = looks.await?;
        if there.is_none() || behind.iter().any(|key| key.number().is_some()) {
            return Ok(None);
        }
        let taken_in = replayed.book.apply(&[seal_by(by)]);
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
            let created = match self.store.create(&key, &body).await {
                Err(StoreError::Corrupt { .. }) => continue,
                created => created?,
            };
            match created {
                Created::Won => return Ok(Some(seq)),
                Created::Exists(payload) => {
                    // What cannot be read is no seal to anybody.
                    let found = segment::decode(&self.store, &key, &payload);
                    if found.is_ok_and(|found| segment::sealed_by(&found.segment).is_some()) {
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

    /// Gives up what cannot be read of a journal that is over: from then on it counts for nothing, to
    /// whoever reads the journal. What else the journal holds can be carried on then. Only what is damaged
    /// is given up; what a later version wrote is for that.
    ///
    /// One create decides, so that all leave out the same.
    ///
    /// # Errors
    /// [`JournalError`] if it may not be given up; asking again is harmless.
    pub async fn give_up_damaged(
        &self,
        journal: &SchedulerId,
        by: &SchedulerId,
    ) -> Result<(), JournalError> {
        let read = self.read(journal).await?;
        let Some(Lack::Unreadable(error)) = &read.lacks else {
            return Ok(());
        };
        if !read.replayed.is_over() || matches!(error, StoreError::Newer { .. }) {
            return Ok(());
        }
        let segments = self.damaged(journal, read.replayed.base..read.end).await?;
        let body = record::encode(&VoidRecord {
            v: RECORD_VERSION,
            by: by.clone(),
            segments,
        });
        self.store.create(&void_key(journal), &body).await?;
        Ok(())
    }

    async fn damaged(
        &self,
        journal: &SchedulerId,
        numbers: std::ops::Range<u64>,
    ) -> Result<BTreeSet<u64>, StoreError> {
        let mut damaged = BTreeSet::new();
        for seq in numbers {
            match self.get(journal, seq).await {
                Ok(_) => {}
                Err(StoreError::Corrupt { .. }) => {
                    damaged.insert(seq);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(damaged)
    }

    /// The segments of a journal that count for nothing.
    pub(super) async fn void(&self, journal: &SchedulerId) -> Result<BTreeSet<u64>, StoreError> {
        let key = void_key(journal);
        let Some(payload) = self.store.get(&key).await? else {
            return Ok(BTreeSet::new());
        };
        let given_up: VoidRecord = record::decode(&self.store, &key, &payload, RECORD_VERSION)?;
        Ok(given_up.segments)
    }
}

/// Says which segments of a journal count for nothing.
pub(super) fn void_key(journal: &SchedulerId) -> Key {
    folder(journal).child("void")
}

fn seal_by(by: &SchedulerId) -> Record {
    let kind = Kind::Seal(Seal { by: by.to_string() });
    Record { record: Some(kind) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use object_store::memory::InMemory;
    use paceline_proto::state::Accepted;
    use prometheus::Registry;

    use super::*;
    use crate::{Journal, JournalMetrics, JournalOptions, Limits, StateStore, StoreMetrics};

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
}
