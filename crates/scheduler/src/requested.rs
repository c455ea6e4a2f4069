//! What tells the requests apart that clients send under one name: a repeat asks for the same, to the
//! letter, or it is told what it asks otherwise.
//!
//! Digests are all that is kept of it, in journals, outcomes and the log of the catalog: a client may
//! repeat what it sent when the statement itself is long gone.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use arrow::array::RecordBatch;
use paceline_frontend::{SessionSettings, Submission};
use paceline_model::{ErrorClass, QueryError, QueryId};
use paceline_store::Ending;
use sha2::{Digest, Sha256};

use crate::enqueued::STATUS;
use crate::record::QueryRecord;
use crate::settings::parameters;
use crate::shared::Shared;

/// What an outcome carries of what its client had asked for.
const REQUEST: &str = "request";

/// Stands for what a request does not say.
const NOTHING: &str = "-";

/// A part of a request that a repeat has to agree with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Statement,
    Settings,
    Parameters,
    /// Whether it runs by itself, with a result that is kept.
    Kept,
    Timeout,
    ResultTtl,
}

impl Part {
    const ALL: [Part; 6] = [
        Part::Statement,
        Part::Settings,
        Part::Parameters,
        Part::Kept,
        Part::Timeout,
        Part::ResultTtl,
    ];

    /// The word under which it is written down. Never changed: others read it, and later versions.
    fn as_str(self) -> &'static str {
        match self {
            Part::Statement => "statement",
            Part::Settings => "settings",
            Part::Parameters => "parameters",
            Part::Kept => "kept",
            Part::Timeout => "timeout",
            Part::ResultTtl => "result_ttl",
        }
    }

    /// What a name was used with, to a client that uses it again.
    fn other(self, first: &str) -> &'static str {
        match self {
            Part::Statement => "another statement",
            Part::Settings => "other settings",
            Part::Parameters => "other parameters",
            Part::Kept if first == YES => "POST /v1/queries",
            Part::Kept => "POST /v1/sql or Flight SQL, which keep no result",
            Part::Timeout => "another timeout",
            Part::ResultTtl => "another result_ttl",
        }
    }
}

const YES: &str = "yes";
const NO: &str = "no";

/// What a client asked for, as far as a repeat has to agree with it. A part that is not known agrees
/// with anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Requested(BTreeMap<Part, String>);

/// What a client calls a statement, and what it asked for under that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) key: String,
    pub(crate) requested: Requested,
}

impl Requested {
    /// A statement whose client waits for the answer.
    ///
    /// # Errors
    /// What is wrong with its parameters.
    pub(crate) fn statement(
        sql: &str,
        session: &SessionSettings,
        values: Option<&RecordBatch>,
    ) -> Result<Self, QueryError> {
        let mut requested = Self::of(sql, session, values)?;
        requested.0.insert(Part::Kept, NO.to_string());
        Ok(requested)
    }

    /// A statement that runs by itself.
    ///
    /// # Errors
    /// What is wrong with its parameters.
    pub(crate) fn submission(request: &Submission) -> Result<Self, QueryError> {
        let statement = &request.statement;
        let values = statement.parameters.as_ref();
        let mut requested = Self::of(&statement.sql, &statement.session, values)?;
        requested.0.extend([
            (Part::Kept, YES.to_string()),
            (Part::Timeout, time(request.timeout)),
            (Part::ResultTtl, time(request.result_ttl)),
        ]);
        Ok(requested)
    }

    /// As much as the text of a statement tells; nothing, if it was lost.
    pub(crate) fn of_text(sql: &str) -> Self {
        let statement = (!sql.is_empty()).then(|| (Part::Statement, hex(&Sha256::digest(sql))));
        Requested(statement.into_iter().collect())
    }

    fn of(
        sql: &str,
        session: &SessionSettings,
        values: Option<&RecordBatch>,
    ) -> Result<Self, QueryError> {
        let settings = session.iter().flat_map(|(name, value)| [name, value]);
        let values = parameters(values)?;
        // With their types: what a text is equal to, a number may not be.
        let values = values
            .iter()
            .map(|value| format!("{:?} {value:?}", value.data_type()));
        let mut requested = Self::of_text(sql);
        requested.0.extend([
            (Part::Settings, digest(settings)),
            (Part::Parameters, digest(values)),
        ]);
        Ok(requested)
    }

    /// What [`Display`](fmt::Display) wrote. A bare word is the statement: there was nothing else once.
    pub(crate) fn read(text: &str) -> Self {
        let part = |word: &str| {
            let (name, value) = word.split_once('=').unwrap_or(("statement", word));
            let part = Part::ALL.into_iter().find(|part| part.as_str() == name)?;
            Some((part, value.to_string()))
        };
        Requested(text.split_whitespace().filter_map(part).collect())
    }

    /// Sees to it that whoever uses the name again asks for the same.
    ///
    /// # Errors
    /// What it asks otherwise.
    pub(crate) fn agree(&self, again: &Requested) -> Result<(), QueryError> {
        let other = |part: Part| {
            let (first, again) = (self.0.get(&part)?, again.0.get(&part)?);
            (first != again).then(|| part.other(first))
        };
        let others: Vec<&str> = Part::ALL.into_iter().filter_map(other).collect();
        if others.is_empty() {
            return Ok(());
        }
        let message = format!(
            "this Idempotency-Key was used with {}: use a new one",
            others.join(" and ")
        );
        Err(QueryError::new(ErrorClass::Conflict, message))
    }

    /// What the client of a query that has its outcome had asked for.
    pub(crate) fn of_ended(ending: &Ending) -> Self {
        let text = |value: Option<&serde_json::Value>| Some(value?.as_str()?.to_string());
        if let Some(request) = text(ending.result.get(REQUEST)) {
            return Self::read(&request);
        }
        let status = ending.result.get(STATUS);
        let sql = text(status.and_then(|status| status.get("sql")));
        Self::of_text(&sql.unwrap_or_default())
    }
}

impl fmt::Display for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (part, value)) in self.0.iter().enumerate() {
            let space = if nth == 0 { "" } else { " " };
            write!(f, "{space}{}={value}", part.as_str())?;
        }
        Ok(())
    }
}

/// Notes in the outcome of a query what its client had asked for, if that may ask again.
pub(crate) fn note_request(shared: &Shared, query: QueryId, result: &mut serde_json::Value) {
    let written = |record: &mut QueryRecord| record.requested.as_ref().map(Requested::to_string);
    if let Some(request) = shared.driver.with_record(&query, written).flatten() {
        result[REQUEST] = request.into();
    }
}

fn time(asked: Option<Duration>) -> String {
    // As it is passed on from one scheduler to another.
    asked.map_or_else(|| NOTHING.to_string(), |time| time.as_millis().to_string())
}

/// A digest of pieces that no other pieces have; a word of its own for none.
fn digest<T: AsRef<[u8]>>(pieces: impl Iterator<Item = T>) -> String {
    let mut digest = Sha256::new();
    let mut any = false;
    for piece in pieces {
        let piece = piece.as_ref();
        digest.update((piece.len() as u64).to_be_bytes());
        digest.update(piece);
        any = true;
    }
    match any {
        true => hex(&digest.finalize()),
        false => NOTHING.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
