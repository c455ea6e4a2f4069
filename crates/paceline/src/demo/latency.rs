use std::time::{Duration, Instant};

use super::runs::median;
use super::stage::Stage;
use crate::Failure;

/// It reads a table, so it is planned, launched and fetched like any other.
const TINY: &str = "select n_name from nation where n_nationkey = 7";
const WARM_UP: usize = 20;
const MEASURED: usize = 200;

/// How long a tiny query takes, from the statement to its last row.
pub(super) struct Latency {
    pub(super) median: Duration,
    pub(super) slowest: Duration,
    pub(super) runs: usize,
}

pub(super) async fn measure(stage: &mut Stage) -> Result<Latency, Failure> {
    let mut times = Vec::with_capacity(MEASURED);
    let (_, door) = stage.door(0)?;
    for run in 0..WARM_UP + MEASURED {
        let started = Instant::now();
        door.flight.run(TINY).await?;
        if run >= WARM_UP {
            times.push(started.elapsed());
        }
    }
    Ok(Latency {
        median: median(&mut times),
        slowest: times.last().copied().unwrap_or_default(),
        runs: times.len(),
    })
}
