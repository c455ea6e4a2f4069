//! Whole clusters of real processes, struck or under load for longer than a test may take.
//!
//! ```text
//! cargo bench -p paceline --bench cluster -- chaos --minutes 30
//! cargo bench -p paceline --bench cluster -- takeover --kind frozen --count 10
//! cargo bench -p paceline --bench cluster -- short --clients 32 --linger 0s
//! ```
//!
//! `--help` behind one of their names says what else it can be told.

#![expect(
    clippy::disallowed_methods,
    reason = "other processes are looked at again until something is so, with a deadline"
)]

mod chaos;
mod short;
mod stage;
mod storm;
mod takeover;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cluster", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
    /// What cargo tells every bench.
    #[arg(long = "bench", global = true, hide = true)]
    _is_bench: bool,
}

#[derive(Subcommand)]
enum Bench {
    /// Faults for as long as one likes, at every step of queries.
    Chaos(chaos::Chaos),
    /// How long a query is without an owner when its scheduler is struck.
    Takeover(takeover::Takeover),
    /// How many short queries go through one scheduler in a second, and what they cost the store.
    Short(short::Short),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().bench {
        Bench::Chaos(chaos) => chaos.play().await,
        Bench::Takeover(takeover) => takeover.measure().await,
        Bench::Short(short) => short.measure().await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
