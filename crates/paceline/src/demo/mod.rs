//! `paceline demo`: TPC-H on a cluster of child processes, checked against one DataFusion process.
//!
//! ```text
//!   tables (Parquet, kept) ─┬─► 2 schedulers, 3 executors ─ Flight SQL ─┐
//!                           └─► one DataFusion process ─────────────────┴─► compare ─► report
//! ```
//!
//! Each query runs once unmeasured on both sides and then a few times measured, in turn, so that
//! both are equally warm. Every answer is checked. All processes end with the demo, also on Ctrl-C,
//! and when its terminal is closed.
//! With `--chaos` each query runs once, and processes are killed meanwhile; see [`chaos`].

mod arguments;
mod bars;
mod chaos;
mod latency;
mod progress;
mod reference;
mod report;
mod runs;
mod stage;
mod tables;

use crate::Failure;
use crate::serve::Signals;

pub(crate) use arguments::Arguments;
pub(crate) use reference::{ReferenceArguments, reference};

use bars::Memory;
use stage::Stage;

/// Runs the demo; fails unless all answers agree, and bars are met if it is to be strict about them.
pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Before anything is begun that must not be left behind.
        let mut signals = Signals::listen()?;
        let dataset = tables::prepare(&arguments, &mut signals).await?;
        // Cancel safety: the loser is dropped, and with it every child process and directory.
        tokio::select! {
            outcome = show(&arguments, &dataset) => outcome,
            () = signals.wait() => Err(Failure::interrupted()),
        }
    })
}

async fn show(arguments: &Arguments, dataset: &paceline_testkit::Dataset) -> Result<(), Failure> {
    let mut stage = Stage::set(arguments, dataset).await?;
    let outcome = match arguments.chaos {
        true => chaos::perform(arguments, dataset, &mut stage).await,
        false => perform(arguments, dataset, &mut stage).await,
    };
    stage.strike(outcome).await
}

async fn perform(
    arguments: &Arguments,
    dataset: &paceline_testkit::Dataset,
    stage: &mut Stage,
) -> Result<(), Failure> {
    stage.create_tables(dataset).await?;
    let mut rows = Vec::new();
    for query in arguments.selected() {
        rows.push(runs::measure(stage, &query, dataset.scale(), arguments.runs).await?);
    }
    let latency = latency::measure(stage).await?;
    let memory = Memory::of(stage);
    let figures = bars::figures(&rows, memory.as_ref(), &latency);
    report::print(&rows, &latency, memory.as_ref(), &figures)?;
    verdict(&rows)?;
    match arguments.strict {
        Some(factor) => bars::insist(&figures, factor),
        None => Ok(()),
    }
}

/// Whether all answers agree, and each was compared.
fn verdict(rows: &[runs::Row]) -> Result<(), Failure> {
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|row| Some(format!("{}: {}", row.query, row.problem()?)))
        .collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "{} of {} queries did not give the answer of one DataFusion process:\n  {}",
            wrong.len(),
            rows.len(),
            wrong.join("\n  ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use paceline_testkit::tpch_queries;

    use super::*;

    #[test]
    fn one_wrong_answer_of_all_is_a_failure_that_names_it() {
        let queries = tpch_queries().into_iter().take(2);
        let mut rows: Vec<_> = queries.map(|query| runs::Row::of(query, 1)).collect();
        let nothing = verdict(&rows).unwrap_err().to_string();
        assert!(
            nothing.contains("2 of 2"),
            "nothing was compared: {nothing}"
        );
        rows.iter_mut().for_each(|row| row.compared = 1);
        assert!(verdict(&rows).is_ok());
        rows[1].wrong = Some("3 rows".to_string());
        let said = verdict(&rows).unwrap_err().to_string();
        let named = format!("{}: 3 rows", rows[1].query);
        assert!(said.contains("1 of 2") && said.contains(&named), "{said}");
    }
}
