//! Faults for as long as one likes; see [`storm`].
//!
//! ```text
//! cargo bench -p paceline --bench chaos -- --minutes 30
//! cargo bench -p paceline --bench chaos -- --seed 17 [--rounds 8]
//! ```
//!
//! Each seed is a cluster of its own and eight rounds. Seeds go up from the one that is given, or from
//! any other, until the time is over; without `--minutes` it is one. What is done is
//! printed before it happens; if something is wrong, the seed plays it again, and the logs stay.
//!
//! It fails also if takeovers take too long, when nothing but the owner was struck: the median of those
//! from a process that was killed may be 300 ms, and the longest a second; that from a frozen one may
//! take `takeover_after` and a second.

#![expect(
    clippy::disallowed_methods,
    reason = "other processes are looked at again until something is so, with a deadline"
)]

mod storm;

use std::time::{Duration, Instant};

use storm::Summary;

#[tokio::main]
async fn main() -> Result<(), String> {
    let words: Vec<String> = std::env::args().collect();
    let number = |name: &str| -> Option<u64> {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)?.parse().ok()
    };
    let first = number("--seed").unwrap_or_else(any);
    let rounds = number("--rounds").unwrap_or(8) as usize;
    let until = Duration::from_secs(60 * number("--minutes").unwrap_or(0));
    let begun = Instant::now();
    let mut total = Summary::default();
    let mut seed = first;
    loop {
        let say = |line: String| println!("{line}");
        let drawn = storm::draw(seed, rounds);
        storm::run(seed, &drawn, true, &mut total, &say).await?;
        println!("seeds {first} to {seed}: {total}");
        seed += 1;
        if begun.elapsed() >= until {
            break;
        }
    }
    let slow = total.too_slow();
    match slow.is_empty() {
        true => Ok(()),
        false => Err(slow.join("\n")),
    }
}

/// Any seed: the process's id is as good as the time.
fn any() -> u64 {
    u64::from(std::process::id())
}
