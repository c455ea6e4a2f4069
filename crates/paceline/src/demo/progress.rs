//! How far things are: a bar or a line that moves on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Whether somebody watches.
pub(super) fn watched() -> bool {
    std::io::stderr().is_terminal()
}

/// A bar for so many rows.
pub(super) fn rows(total: u64) -> ProgressBar {
    if !watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} %, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// A line that is rewritten.
pub(super) fn line() -> ProgressBar {
    if !watched() {
        return ProgressBar::hidden();
    }
    let line = ProgressBar::new_spinner();
    line.enable_steady_tick(Duration::from_millis(100));
    line
}

/// A step that takes its time, told where nothing moves.
pub(super) fn say(text: &str) {
    eprintln!("{text}");
}
