use std::time::Duration;

use comfy_table::CellAlignment;
use paceline_testkit::{Node, peak_memory};

use super::latency::Latency;
use super::runs::Row;
use super::stage::Stage;
use crate::command::table;

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

/// The table, and what it comes to.
pub(super) fn print(rows: &[Row], latency: &Latency, stage: &Stage) {
    let mut out = table(&COLUMNS);
    for row in rows {
        out.add_row([
            row.query.to_string(),
            row.rows.to_string(),
            seconds(row.here),
            seconds(row.alone),
            ratio(row.here.as_secs_f64(), row.alone.as_secs_f64()),
            row.stages.to_string(),
            row.tasks.to_string(),
            mib(row.exchanged),
            if row.wrong.is_none() {
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
        ratio(here.as_secs_f64(), alone.as_secs_f64()),
        rows.iter().map(|row| row.stages).sum::<usize>().to_string(),
        rows.iter().map(|row| row.tasks).sum::<u32>().to_string(),
        mib(rows.iter().map(|row| row.exchanged).sum()),
        format!(
            "{} of {} agree",
            rows.iter().filter(|row| row.wrong.is_none()).count(),
            rows.len()
        ),
    ]);
    for (index, column) in out.column_iter_mut().enumerate() {
        if (1..COLUMNS.len() - 1).contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{out}");
    println!("times are medians; both sides had run each query once before");
    memory(stage);
    println!(
        "tiny query over Flight SQL: median {:.2} ms, slowest of {} {:.2} ms",
        latency.median.as_secs_f64() * 1e3,
        latency.runs,
        latency.slowest.as_secs_f64() * 1e3
    );
}

fn memory(stage: &Stage) {
    let sum = |nodes: &[Node]| nodes.iter().map(Node::peak_memory).sum::<Option<u64>>();
    let executors = sum(stage.cluster.executors());
    let schedulers = sum(stage.cluster.schedulers());
    let alone = stage.reference.id().and_then(peak_memory);
    if let (Some(executors), Some(schedulers), Some(alone)) = (executors, schedulers, alone) {
        println!(
            "peak memory: executors together {} MiB (and schedulers {} MiB), one process {} MiB: {}",
            mib(executors),
            mib(schedulers),
            mib(alone),
            ratio(executors as f64, alone as f64)
        );
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

fn ratio(here: f64, alone: f64) -> String {
    if alone > 0.0 {
        format!("{:.2} ×", here / alone)
    } else {
        String::new()
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}
