//! A client: takes one query after the other, and finds its answer at whichever scheduler is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use paceline_model::QueryId;
use paceline_testkit::{Query, compare};
use tokio::sync::{Mutex, mpsc};

use super::board::{Board, Lost};
use crate::client::{Answer, Anywhere, Moment};

/// The longest that one query may take.
const LIMIT: Duration = Duration::from_secs(300);

/// A query, and what it has to come to.
pub(super) struct Errand {
    pub(super) query: Query,
    pub(super) sql: String,
    pub(super) expected: Answer,
}

/// What it came to.
pub(super) struct Ride {
    pub(super) query: Query,
    pub(super) rows: usize,
    pub(super) took: Duration,
    /// How many owners it had before its last one, if anybody still knows.
    pub(super) epoch: Option<u64>,
    /// What it was when it lost its owner to a kill, and its client waited for it.
    pub(super) lost: Option<Lost>,
    pub(super) wrong: Option<String>,
}

pub(super) async fn ride(
    errands: Arc<Mutex<mpsc::Receiver<Errand>>>,
    board: Arc<Board>,
) -> Vec<Ride> {
    let mut rides = Vec::new();
    loop {
        let errand = errands.lock().await.recv().await;
        match errand {
            Some(errand) => rides.push(one(errand, &board).await),
            None => return rides,
        }
    }
}

async fn one(errand: Errand, board: &Board) -> Ride {
    let anywhere = Anywhere::new(board.flights.clone(), LIMIT);
    let name = errand.query.to_string();
    let begun = Instant::now();
    let mut known: Option<QueryId> = None;
    let on = |moment| {
        match moment {
            Moment::Started {
                query: Some(query),
                at,
            } => {
                known = Some(query);
                board.started(query, &name, at);
            }
            Moment::Turned { from, error } => {
                if let Some(query) = known {
                    board.turned(query, from);
                }
                board.say(&format!(
                    "{name} turns from scheduler {}: {error}",
                    from + 1
                ));
            }
            _ => {}
        }
        std::future::ready(())
    };
    let first = usize::from(errand.query.number());
    let answer = anywhere.run(first, &errand.sql, on).await;
    let took = begun.elapsed();
    let report = match known {
        Some(query) => board.report(query).await,
        None => None,
    };
    let lost = board.over(known);
    let (rows, wrong) = match &answer {
        Ok(answer) => (answer.rows(), differs(&errand, answer)),
        Err(error) => (0, Some(error.to_string())),
    };
    let verdict = wrong
        .as_ref()
        .map_or("agrees".to_string(), |w| format!("WRONG: {w}"));
    board.say(&format!(
        "{name} {rows} rows after {:.2} s, {verdict}",
        took.as_secs_f64()
    ));
    Ride {
        query: errand.query,
        rows,
        took,
        epoch: report.map(|report| report.epoch.0),
        lost,
        wrong,
    }
}

fn differs(errand: &Errand, answer: &Answer) -> Option<String> {
    let expected = (
        errand.expected.schema.as_ref(),
        errand.expected.batches.as_slice(),
    );
    let answer = (answer.schema.as_ref(), answer.batches.as_slice());
    let difference = compare(expected, answer, &errand.query.order()).err()?;
    Some(difference.to_string())
}
