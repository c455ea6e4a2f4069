//! Faults for as long as one likes; see [`storm`](crate::storm).
//!
//! Each seed is a cluster of its own and some rounds. Seeds go up from the one that is given, or from
//! any other, until the time is over. What is done is printed before it happens; if something is wrong,
//! the seed plays it again, and the logs stay. `--by-hand` plays what the tests play.
//!
//! It fails also if takeovers take too long, when nothing but the owner was struck: the median of those
//! from a process that was killed may be 300 ms, and the longest a second; that from one that is frozen,
//! cut off or stalled may take `takeover_after` and a second. And it fails if some kind of fault was never
//! felt.

use std::time::{Duration, Instant};

use clap::Args;

use crate::stage::Failure;
use crate::storm;

/// What is played.
#[derive(Args)]
pub(crate) struct Chaos {
    /// The first seed [default: any].
    #[arg(long)]
    seed: Option<u64>,
    /// Rounds that are drawn by hand, and nothing else.
    #[arg(long, conflicts_with_all = ["seed", "rounds", "minutes"])]
    by_hand: bool,
    /// How many rounds each seed has.
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// For how long further seeds are begun.
    #[arg(long, default_value_t = 0)]
    minutes: u64,
}

impl Chaos {
    pub(crate) async fn play(&self) -> Result<(), Failure> {
        let mut total = storm::Summary::default();
        match self.by_hand {
            true => run("by hand", &storm::by_hand(), &mut total).await?,
            false => self.seeds(&mut total).await?,
        }
        let mut problems = total.too_slow();
        problems.extend(total.never_felt());
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems.join("\n").into()),
        }
    }

    async fn seeds(&self, total: &mut storm::Summary) -> Result<(), Failure> {
        let first = self.seed.unwrap_or_else(any);
        let time = Duration::from_secs(60 * self.minutes);
        let begun = Instant::now();
        for seed in first.. {
            let drawn = storm::draw(seed, self.rounds);
            run(&format!("seed {seed}"), &drawn, total).await?;
            if begun.elapsed() >= time {
                break;
            }
        }
        Ok(())
    }
}

async fn run(
    name: &str,
    rounds: &[storm::Round],
    total: &mut storm::Summary,
) -> Result<(), Failure> {
    let say = |line: String| println!("{line}");
    storm::run(name, rounds, &|| (), total, &say).await?;
    println!("up to {name}: {total}");
    Ok(())
}

/// Any seed: the process's id is as good as the time.
fn any() -> u64 {
    u64::from(std::process::id())
}
