//! How queries were divided: into stages, and each of those into tasks that take all slots of an executor.

use arrow::array::AsArray;
use paceline::client::Answer;
use paceline_frontend::QueryReport;

use crate::support::{Running, attempts};

/// Slots of each executor where tasks are to be fat.
pub(crate) const SLOTS: usize = 2;

/// A plan that `EXPLAIN` or `EXPLAIN ANALYZE` tells of.
pub(crate) fn told(answer: &Answer, kind: &str) -> String {
    let rows = answer.batches.iter().flat_map(|batch| {
        let kinds = batch.column(0).as_string::<i32>().iter();
        kinds.zip(batch.column(1).as_string::<i32>())
    });
    let mut plans = rows.filter(|(it, _)| *it == Some(kind));
    let plan = plans.next().and_then(|(_, plan)| plan);
    plan.unwrap_or_else(|| panic!("no {kind}")).to_string()
}

/// The number that follows `name` in a line.
pub(crate) fn number(line: &str, name: &str) -> Option<u64> {
    let (_, rest) = line.split_once(name)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The partitions of each stage of a statement, the first one first.
pub(crate) async fn partitions(running: &Running, scheduler: usize, sql: &str) -> Vec<u64> {
    let mut flight = running.flight(scheduler).await;
    let answer = flight.run(&format!("explain {sql}")).await.unwrap();
    let stages = told(&answer, "stages");
    let headings = stages.lines().filter(|line| line.starts_with("stage "));
    let partitions = headings.map(|heading| number(heading, ": partitions=").unwrap());
    let mut partitions: Vec<u64> = partitions.collect();
    partitions.reverse();
    partitions
}

/// How many stages of a query there were with a partition for every slot, or more, in no more tasks than
/// there are executors. What else there is of that kind is wrong.
pub(crate) fn fat_stages(
    running: &Running,
    report: &QueryReport,
    partitions: &[u64],
) -> Result<usize, String> {
    if report.stages.len() != partitions.len() {
        return Err(format!("{partitions:?} partitions, and {report:?}"));
    }
    let executors = running.cluster.executors().len();
    let slots = (executors * SLOTS) as u64;
    let stages = report.stages.iter().zip(partitions);
    let wide = stages.filter(|(_, partitions)| **partitions >= slots);
    let mut fat = 0;
    for (stage, partitions) in wide {
        if stage.tasks as usize > executors {
            return Err(format!("{partitions} partitions in many tasks: {stage:?}"));
        }
        fat += 1;
    }
    Ok(fat)
}

/// The same of a query that came to its end undisturbed: it was cut, and nothing was done twice.
pub(crate) async fn well_divided(
    running: &Running,
    scheduler: usize,
    sql: &str,
    report: &QueryReport,
) -> Result<usize, String> {
    if report.stages.len() < 2 {
        return Err("it was not cut".to_string());
    }
    let (attempts, tasks) = attempts(report);
    if attempts != tasks {
        return Err(format!("{attempts} attempts at {tasks} tasks: {report:?}"));
    }
    let partitions = partitions(running, scheduler, sql).await;
    fat_stages(running, report, &partitions)
}
