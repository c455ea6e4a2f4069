use std::time::Duration;

use comfy_table::CellAlignment;

use super::board::Board;
use super::rider::Ride;
use super::trouble::Trouble;
use super::verdict::Owners;
use crate::Failure;
use crate::command::{say, table};

const COLUMNS: [&str; 5] = ["query", "rows", "seconds", "owners", "answer"];

/// The table, and what was done meanwhile.
pub(super) fn print(
    rides: &[Ride],
    board: &Board,
    trouble: &Trouble,
    seed: u64,
) -> Result<(), Failure> {
    let mut out = table(&COLUMNS);
    for ride in rides {
        let owners = ride
            .epoch
            .map_or("?".to_string(), |epoch| (epoch + 1).to_string());
        out.add_row([
            ride.query.to_string(),
            ride.rows.to_string(),
            format!("{:.3}", ride.took.as_secs_f64()),
            owners,
            if ride.wrong.is_none() {
                "agrees"
            } else {
                "WRONG"
            }
            .to_string(),
        ]);
    }
    for (index, column) in out.column_iter_mut().enumerate() {
        if (1..COLUMNS.len() - 1).contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let right = rides.iter().filter(|ride| ride.wrong.is_none()).count();
    let takeovers: u64 = rides.iter().filter_map(|ride| ride.epoch).sum();
    let slowest = board.takeovers().into_iter().max();
    say(out)?;
    say(format!("{right} of {} agree (--seed {seed})", rides.len()))?;
    say(format!(
        "kills: {} of schedulers, {} of executors; restarts: {}",
        trouble.schedulers_killed, trouble.executors_killed, trouble.restarts
    ))?;
    let owners = Owners::of(rides);
    say(format!(
        "lost their owner before the answer: {} queries, and {} of them found another one",
        owners.lost, owners.found
    ))?;
    say(format!(
        "takeovers: {takeovers}, slowest {}; tasks adopted: {}, run again: {}",
        slowest.map_or("not seen".to_string(), shown),
        trouble.tally.adopted,
        trouble.tally.rerun
    ))
}

fn shown(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}
