//! What the demo prints at its end.

use std::time::Duration;

use comfy_table::{CellAlignment, Table};

use super::bars::{self, Figure, Memory};
use super::latency::Latency;
use super::runs::Row;
use crate::Failure;
use crate::command::{say, table};

const COLUMNS: [&str; 9] = [
    "query",
    "rows",
    "here (s)",
    "one process (s)",
    "ratio",
    "stages",
    "tasks",
    "exchanged (MiB)",
    "answer",
];

/// The queries, and what they come to.
pub(super) fn print(
    rows: &[Row],
    latency: &Latency,
    memory: Option<&Memory>,
    figures: &[Figure],
) -> Result<(), Failure> {
    say(queries(rows))?;
    say("times are medians; both sides had run each query once before")?;
    if let Some(memory) = memory {
        say(format!(
            "peak memory: executors together {} MiB (and schedulers {} MiB), one process {} MiB",
            mib(memory.executors),
            mib(memory.schedulers),
            mib(memory.alone)
        ))?;
    }
    say(format!(
        "tiny query over Flight SQL: median {:.2} ms, slowest of {} {:.2} ms",
        latency.median.as_secs_f64() * 1e3,
        latency.runs,
        latency.slowest.as_secs_f64() * 1e3
    ))?;
    let mut compared = table(&bars::COLUMNS);
    for figure in figures {
        compared.add_row(figure.cells());
    }
    align(&mut compared, bars::COLUMNS.len());
    say(compared)?;
    say("the bars are meant for scale 1 with 2 executors on 2 cores")
}

fn queries(rows: &[Row]) -> Table {
    let mut out = table(&COLUMNS);
    for row in rows {
        out.add_row([
            row.query.to_string(),
            row.rows.to_string(),
            seconds(row.here),
            seconds(row.alone),
            ratio(row.here, row.alone),
            row.stages.to_string(),
            row.tasks.to_string(),
            mib(row.exchanged),
            if row.problem().is_none() {
                "agrees"
            } else {
                "WRONG"
            }
            .to_string(),
        ]);
    }
    let here: Duration = rows.iter().map(|row| row.here).sum();
    let alone: Duration = rows.iter().map(|row| row.alone).sum();
    out.add_row([
        "total".to_string(),
        rows.iter().map(|row| row.rows).sum::<usize>().to_string(),
        seconds(here),
        seconds(alone),
        ratio(here, alone),
        rows.iter().map(|row| row.stages).sum::<usize>().to_string(),
        rows.iter().map(|row| row.tasks).sum::<u32>().to_string(),
        mib(rows.iter().map(|row| row.exchanged).sum()),
        format!(
            "{} of {} agree",
            rows.iter().filter(|row| row.problem().is_none()).count(),
            rows.len()
        ),
    ]);
    align(&mut out, COLUMNS.len());
    out
}

/// Numbers stand to the right; the first and the last column are words.
fn align(table: &mut Table, columns: usize) {
    for (index, column) in table.column_iter_mut().enumerate() {
        if (1..columns - 1).contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

fn ratio(here: Duration, alone: Duration) -> String {
    bars::ratio(here.as_secs_f64(), alone.as_secs_f64())
        .map_or(String::new(), |ratio| format!("{ratio:.2} ×"))
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use paceline_testkit::tpch_queries;

    use super::*;

    #[test]
    fn the_table_has_every_column_of_every_query() {
        let mut row = Row::of(tpch_queries()[5], 2);
        (row.rows, row.stages, row.tasks, row.compared) = (11, 3, 7, 2);
        (row.here, row.alone) = (Duration::from_millis(1500), Duration::from_millis(1000));
        row.exchanged = 5 << 20;
        let mut wrong = Row::of(tpch_queries()[21], 2);
        wrong.wrong = Some("3 rows instead of 4".to_string());
        let text = queries(&[row, wrong]).to_string();
        let line = |with: &str| {
            let mut lines = text.lines().filter(|line| line.contains(with));
            let cells = lines.next().unwrap().split('┆');
            let bare = cells.map(|cell| cell.trim_matches([' ', '│']).to_string());
            bare.collect::<Vec<String>>()
        };
        assert_eq!(line("query"), COLUMNS);
        let measured = ["1.500", "1.000", "1.50 ×", "3", "7", "5.0"];
        let with = |first: &str, rows: &str, last: &str| {
            let cells = [&[first, rows][..], &measured, &[last]].concat();
            cells.into_iter().map(str::to_string).collect::<Vec<_>>()
        };
        assert_eq!(line("Q06"), with("Q06", "11", "agrees"));
        assert_eq!(line("Q22").last().map(String::as_str), Some("WRONG"));
        assert_eq!(line("total"), with("total", "11", "1 of 2 agree"));
    }
}
