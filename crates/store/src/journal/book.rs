//! All that a journal knows of each query that has not ended: what its records add up to.

use std::collections::BTreeMap;

use paceline_core::ownership::Standing;
use paceline_model::{Epoch, QueryId};
use paceline_proto::state::record::Record as Kind;
use paceline_proto::state::{Adopted, Known, Record, Snapshot, StageFinished, StageFormed};
use paceline_proto::{Malformed, query_bytes, query_id};

use super::segment::entries_of;

/// What a journal holds of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// At which epoch.
    pub epoch: Epoch,
    /// All that is known of it.
    pub known: Known,
}

/// What the records of a journal add up to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Book {
    held: BTreeMap<QueryId, Held>,
    standing: Standing,
}

impl Book {
    /// Takes in the next records.
    ///
    /// # Errors
    /// [`Malformed`] if one names no query; those before it have been taken in.
    pub fn apply(&mut self, records: &[Record]) -> Result<(), Malformed> {
        for record in records {
            if self.standing.sealed_by().is_none()
                || matches!(record.record, Some(Kind::Snapshot(_)))
            {
                self.note(record)?;
            }
            for entry in entries_of(std::slice::from_ref(record))? {
                self.standing.apply(&entry);
            }
        }
        Ok(())
    }

    fn note(&mut self, record: &Record) -> Result<(), Malformed> {
        match &record.record {
            Some(Kind::Accepted(accepted)) => {
                let known = Known {
                    statement: accepted.statement.clone(),
                    ..Known::default()
                };
                self.hold(query_id(&accepted.query)?, Epoch(0), known);
            }
            Some(Kind::Adopted(adopted)) => self.hold(
                query_id(&adopted.query)?,
                Epoch(adopted.epoch),
                adopted.known.clone().unwrap_or_default(),
            ),
            Some(Kind::StageFormed(formed)) => {
                if let Some(held) = self.held.get_mut(&query_id(&formed.query)?) {
                    put(&mut held.known.formed, formed, |f: &StageFormed| f.stage);
                }
            }
            Some(Kind::StageFinished(finished)) => {
                if let Some(held) = self.held.get_mut(&query_id(&finished.query)?) {
                    put(&mut held.known.finished, finished, |f: &StageFinished| {
                        f.stage
                    });
                }
            }
            Some(Kind::Replanned(replanned)) => {
                let held = self.held.get_mut(&query_id(&replanned.query)?);
                if let Some(statement) = held.and_then(|held| held.known.statement.as_mut()) {
                    statement.graph = replanned.graph.clone();
                }
            }
            Some(Kind::Finished(finished)) => {
                self.held.remove(&query_id(&finished.query)?);
            }
            Some(Kind::Snapshot(snapshot)) => {
                self.held.clear();
                for adopted in &snapshot.queries {
                    let known = adopted.known.clone().unwrap_or_default();
                    self.hold(query_id(&adopted.query)?, Epoch(adopted.epoch), known);
                }
            }
            Some(Kind::Seal(_)) | None => {}
        }
        Ok(())
    }

    fn hold(&mut self, query: QueryId, epoch: Epoch, known: Known) {
        let newer = |held: &Held| held.epoch > epoch;
        if !self.held.get(&query).is_some_and(newer) {
            self.held.insert(query, Held { epoch, known });
        }
    }

    /// Forgets a query that turned out to be somebody else's at that epoch. One that was adopted since
    /// stays.
    pub fn drop_query(&mut self, query: QueryId, epoch: Epoch) {
        if self
            .held
            .get(&query)
            .is_some_and(|held| held.epoch <= epoch)
        {
            self.held.remove(&query);
        }
        self.standing.drop_query(query, epoch);
    }

    /// The part that decides who owns what.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What is known of a query that has not ended.
    pub fn held(&self, query: QueryId) -> Option<&Held> {
        self.held.get(&query)
    }

    /// All queries that have not ended.
    pub fn queries(&self) -> impl Iterator<Item = (QueryId, &Held)> {
        self.held.iter().map(|(query, held)| (*query, held))
    }

    /// The record that stands for all of this.
    pub fn snapshot(&self) -> Record {
        let queries = self.held.iter().map(|(query, held)| Adopted {
            query: query_bytes(*query),
            epoch: held.epoch.0,
            known: Some(held.known.clone()),
        });
        let snapshot = Snapshot {
            queries: queries.collect(),
        };
        Record {
            record: Some(Kind::Snapshot(snapshot)),
        }
    }
}

/// Puts a stage's news in the place of its former ones.
fn put<T: Clone>(all: &mut Vec<T>, new: &T, stage: impl Fn(&T) -> u32) {
    match all.iter_mut().find(|old| stage(old) == stage(new)) {
        Some(old) => *old = new.clone(),
        None => all.push(new.clone()),
    }
}
