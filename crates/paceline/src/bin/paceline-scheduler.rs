//! `paceline scheduler` under a name of its own.

#[path = "../beside.rs"]
mod beside;

use std::process::ExitCode;

fn main() -> ExitCode {
    beside::serve_as("scheduler")
}
