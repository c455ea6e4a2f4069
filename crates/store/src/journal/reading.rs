//! Reading journals, also those of which something cannot be read.
//!
//! What cannot be read holds up what it means: nobody may go on without it, as long as it may be read one
//! day. It does not hold up more than that. A segment before the last snapshot means nothing, and a journal
//! is ended whatever can be read of it (see [`super::sealing`]).

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use paceline_core::ownership::{Chain, Gap, SegmentKind, Take};
use paceline_model::SchedulerId;

use super::replay::drained_key;
use super::salvage::Readable;
use super::sealing;
use super::segment::{self, folder};
use super::{Book, JournalError, Journals, Replayed};
use crate::{Key, StateStore, StoreError};

/// How many segments are read at once.
const READERS: usize = 16;
/// How often a journal is read again when it changed meanwhile.
pub(super) const TRIES: u32 = 32;

/// A segment, or why it cannot be read. That the store does not answer is no such reason.
type Found = Result<Readable, StoreError>;

/// What a journal says, as far as it could be read.
pub(super) struct Read {
    pub(super) replayed: Replayed,
    /// The number behind all segments.
    pub(super) end: u64,
    /// Why `replayed` is not all of it, if it is not.
    pub(super) lacks: Option<Lack>,
}

/// Something of a journal that was not read.
pub(super) enum Lack {
    /// It is not there: perhaps it was removed meanwhile.
    Gap(Gap),
    /// It is there.
    Unreadable(StoreError),
}

impl Journals {
    /// Reads a journal to its end. One that does not exist is empty.
    ///
    /// # Errors
    /// [`JournalError`] if the store cannot be read, a segment is missing or is not understood.
    pub async fn replay(&self, journal: &SchedulerId) -> Result<Replayed, JournalError> {
        let mut missing = 0;
        for _ in 0..TRIES {
            let read = self.read(journal).await?;
            match read.lacks {
                None => return Ok(read.replayed),
                Some(Lack::Unreadable(error)) => return Err(error.into()),
                // Segments were removed between the listing and the reads.
                Some(Lack::Gap(gap)) => missing = gap.missing,
            }
        }
        Err(self.missing(journal, missing))
    }

    pub(super) fn missing(&self, journal: &SchedulerId, missing: u64) -> JournalError {
        JournalError::Missing {
            location: self.store.location().to_string(),
            journal: journal.clone(),
            missing,
        }
    }

    pub(super) async fn read(&self, journal: &SchedulerId) -> Result<Read, JournalError> {
        let folder = folder(journal);
        let keys = self.store.list(&folder, None).await?;
        if keys.contains(&drained_key(journal)) {
            return Ok(Read {
                replayed: Replayed {
                    drained: true,
                    ..Replayed::default()
                },
                end: 0,
                lacks: None,
            });
        }
        let void = match keys.contains(&sealing::void_key(journal)) {
            true => self.void(journal).await?,
            false => BTreeSet::new(),
        };
        let numbers: Vec<u64> = keys.iter().filter_map(Key::number).collect();
        let (there, gone) = self.found(journal, numbers, &void).await?;
        Ok(fold(&self.store, journal, there, &gone))
    }

    /// The segments of a journal under these numbers and those that follow, and which numbers of them are
    /// not there.
    async fn found(
        &self,
        journal: &SchedulerId,
        numbers: Vec<u64>,
        void: &BTreeSet<u64>,
    ) -> Result<(BTreeMap<u64, Found>, Vec<u64>), StoreError> {
        let lowest = numbers.first().copied();
        let looks = stream::iter(numbers).map(|seq| async move {
            let found = match void.contains(&seq) {
                true => Some(Ok(voided(seq, lowest))),
                false => readable(self.get(journal, seq).await)?,
            };
            Ok::<_, StoreError>((seq, found))
        });
        let looked: Vec<_> = looks.buffered(READERS).try_collect().await?;
        let mut there = BTreeMap::new();
        let mut gone = Vec::new();
        for (seq, found) in looked {
            match found {
                Some(found) => {
                    there.insert(seq, found);
                }
                None => gone.push(seq),
            }
        }
        // The listing may lag behind.
        let mut next = there.last_key_value().map_or(0, |(seq, _)| seq + 1);
        while let Some(found) = readable(self.get(journal, next).await)? {
            there.insert(next, found);
            next += 1;
        }
        Ok((there, gone))
    }

    pub(super) async fn get(
        &self,
        journal: &SchedulerId,
        seq: u64,
    ) -> Result<Option<Readable>, StoreError> {
        let key = folder(journal).numbered(seq);
        match self.store.get(&key).await? {
            Some(payload) => segment::decode(&self.store, &key, &payload).map(Some),
            None => Ok(None),
        }
    }
}

/// Separates what cannot be read from a store that does not answer.
fn readable(got: Result<Option<Readable>, StoreError>) -> Result<Option<Found>, StoreError> {
    match got {
        Ok(found) => Ok(found.map(Ok)),
        Err(error @ (StoreError::Corrupt { .. } | StoreError::Newer { .. })) => {
            Ok(Some(Err(error)))
        }
        Err(error) => Err(error),
    }
}

/// What a segment is taken for that counts for nothing. If it is the first one, and others were before it,
/// it was a snapshot.
fn voided(seq: u64, lowest: Option<u64>) -> Readable {
    let what = "it cannot be read, and was given up".to_string();
    match seq > 0 && lowest == Some(seq) {
        true => Readable::empty_snapshot(what),
        false => Readable::nothing(what),
    }
}

fn fold(
    store: &StateStore,
    journal: &SchedulerId,
    there: BTreeMap<u64, Found>,
    gone: &[u64],
) -> Read {
    let mut chain = Chain::default();
    let mut book = Book::default();
    let mut left_out = Vec::new();
    let mut unreadable = None;
    let end = there.last_key_value().map_or(0, |(seq, _)| seq + 1);
    for (seq, found) in there {
        let kind = found.as_ref().map_or(SegmentKind::Records, |found| {
            segment::kind_of(&found.segment)
        });
        match chain.offer(seq, kind) {
            Take::Begin => {
                book = Book::default();
                left_out.clear();
                unreadable = None;
            }
            Take::Follow => {}
            Take::Skip => continue,
        }
        let key = folder(journal).numbered(seq);
        let taken_in = found.and_then(|found| {
            left_out.extend(found.left_out.iter().map(|what| format!("{key}: {what}")));
            let taken_in = book.apply(&found.segment.records);
            taken_in.map_err(|error| store.corrupt(&key, error.to_string()))
        });
        if let Err(error) = taken_in {
            unreadable.get_or_insert(Lack::Unreadable(error));
        }
    }
    let base = chain.base();
    // Whatever was removed has a snapshot behind it.
    let vanished = gone.iter().find(|seq| **seq >= base);
    let gap = match (chain.next(), vanished) {
        (Err(gap), _) => Some(gap),
        (Ok(_), Some(missing)) => Some(Gap { missing: *missing }),
        (Ok(_), None) => None,
    };
    Read {
        replayed: Replayed {
            book,
            base,
            next: chain.next().unwrap_or(end),
            left_out,
            drained: false,
        },
        end,
        lacks: gap.map(Lack::Gap).or(unreadable),
    }
}
