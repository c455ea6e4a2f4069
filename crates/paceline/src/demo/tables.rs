use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use paceline_testkit::{Dataset, GenerateError, Table};

use super::Arguments;
use super::progress;
use crate::Failure;
use crate::config::cache_directory;
use crate::serve::Signals;

/// The tables of the scale, generated unless an earlier run left them.
pub(super) async fn prepare(
    arguments: &Arguments,
    signals: &mut Signals,
) -> Result<Dataset, Failure> {
    let parent = arguments.data_dir.clone().unwrap_or_else(cache_directory);
    let parent = std::path::absolute(&parent).map_err(Failure::while_doing(format!(
        "cannot use {}",
        parent.display()
    )))?;
    let scale = arguments.scale;
    if let Some(dataset) = Dataset::find(&parent, scale) {
        progress::say(&format!(
            "TPC-H at scale {scale} is in {}",
            dataset.directory().display()
        ));
        return Ok(dataset);
    }
    progress::say(&format!(
        "writing TPC-H at scale {scale} to {}",
        parent.display()
    ));
    let stop = Arc::new(AtomicBool::new(false));
    let watching = Arc::clone(&stop);
    let mut work = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        let total = Table::ALL.iter().map(|table| table.rows(scale)).sum();
        let meter = Meter::new(total);
        let dataset = Dataset::find_or_generate(&parent, scale, Arguments::cores(), &|rows| {
            meter.add(rows);
            if watching.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        meter.bar.finish_and_clear();
        dataset.inspect(|_| {
            progress::say(&format!(
                "wrote it in {:.1} s",
                started.elapsed().as_secs_f64()
            ));
        })
    });
    // Cancel safety: the work is not dropped but told to stop, and waited for, so that it removes
    // what it has begun.
    let outcome = tokio::select! {
        outcome = &mut work => outcome,
        () = signals.wait() => {
            stop.store(true, Ordering::Relaxed);
            work.await
        }
    };
    match outcome {
        Ok(Err(GenerateError::Interrupted)) => Err(Failure::interrupted()),
        Ok(_) if stop.load(Ordering::Relaxed) => Err(Failure::interrupted()),
        Ok(outcome) => Ok(outcome?),
        Err(error) => Err(Failure::new(format!("the generator failed: {error}"))),
    }
}

/// Shows rows as a bar, or every tenth part as a line.
struct Meter {
    bar: indicatif::ProgressBar,
    total: u64,
    rows: AtomicU64,
}

impl Meter {
    fn new(total: u64) -> Self {
        let bar = progress::rows(total);
        bar.set_message("rows");
        Meter {
            bar,
            total,
            rows: AtomicU64::new(0),
        }
    }

    fn add(&self, rows: u64) {
        self.bar.inc(rows);
        let before = self.rows.fetch_add(rows, Ordering::Relaxed);
        let tenths = |rows: u64| rows * 10 / self.total.max(1);
        if !progress::watched() && tenths(before + rows) > tenths(before) {
            progress::say(&format!("  {:>3} %", tenths(before + rows).min(10) * 10));
        }
    }
}
