//! `paceline demo --chaos`: the 22 queries while schedulers and executors are killed and started again.
//!
//! ```text
//!   riders: each takes the next query, asks any scheduler, compares the answer ──┐
//!   board:  who drives which query, and since when ◄── asked of all schedulers ──┼─► lines, summary
//!   trouble: picks a victim, waits for a query under way, SIGKILL; restarts ─────┘
//! ```
//!
//! What is done to whom is drawn from the seed; when, depends on the queries. One scheduler and one
//! executor are up at any time. It fails unless all answers are right and queries that lost their owners
//! were taken over; see [`verdict`](mod@verdict).

mod board;
mod rider;
mod summary;
mod tally;
mod trouble;
mod verdict;

use std::sync::Arc;

use paceline_testkit::Dataset;
use tokio::task::JoinSet;

use super::Arguments;
use super::progress::say;
use super::stage::Stage;
use crate::Failure;

use board::Board;
use rider::{Errand, Ride};
use trouble::Trouble;
use verdict::verdict;

/// How many queries run at a time.
const RIDERS: usize = 3;

pub(super) async fn perform(
    arguments: &Arguments,
    dataset: &Dataset,
    stage: &mut Stage,
) -> Result<(), Failure> {
    stage.create_tables(dataset).await?;
    let errands = errands(arguments, dataset, stage).await?;
    let count = errands.len();
    let seed = arguments.chaos_seed();
    say(&format!("chaos with --seed {seed}"));
    let board = Arc::new(Board::open(stage));
    let watching = tokio::spawn(board::keep_watching(Arc::clone(&board)));
    let (queue, inbox) = tokio::sync::mpsc::channel(count.max(1));
    for errand in errands {
        // There is room for all of them.
        let _ = queue.try_send(errand);
    }
    drop(queue);
    let inbox = Arc::new(tokio::sync::Mutex::new(inbox));
    let mut riders = JoinSet::new();
    for _ in 0..RIDERS {
        riders.spawn(rider::ride(Arc::clone(&inbox), Arc::clone(&board)));
    }
    let mut trouble = Trouble::new(seed, Arc::clone(&board));
    // Cancel safety: trouble that is dropped leaves processes down at worst, and they are started below.
    let rides = tokio::select! {
        rides = all(&mut riders) => rides?,
        failure = trouble.make(&mut stage.cluster) => return Err(failure),
    };
    watching.abort();
    trouble.end(&mut stage.cluster).await?;
    summary::print(&rides, &board, &trouble, seed)?;
    verdict(&rides, count, trouble.tally.adopted, seed)
}

/// The queries with their answers, so that nothing competes with the cluster later.
async fn errands(
    arguments: &Arguments,
    dataset: &Dataset,
    stage: &mut Stage,
) -> Result<Vec<Errand>, Failure> {
    let mut errands = Vec::new();
    for query in arguments.selected() {
        let sql = query.sql(dataset.scale());
        let (expected, _) = stage.reference.run(&sql).await?;
        errands.push(Errand {
            query,
            sql,
            expected,
        });
    }
    Ok(errands)
}

async fn all(riders: &mut JoinSet<Vec<Ride>>) -> Result<Vec<Ride>, Failure> {
    let mut rides = Vec::new();
    while let Some(done) = riders.join_next().await {
        let done = done.map_err(|error| Failure::new(format!("a client failed: {error}")))?;
        rides.extend(done);
    }
    rides.sort_by_key(|ride| ride.query.number());
    Ok(rides)
}
