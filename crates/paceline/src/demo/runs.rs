//! One query on both sides, several times.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use paceline_frontend::QueryReport;
use paceline_model::{QueryId, SchedulerId, StageProgress};
use paceline_testkit::{Query, Scale, compare};

use super::progress;
use super::stage::{Door, Stage};
use crate::Failure;
use crate::client::{Answer, ClientError, Http};

/// How often the progress of a query is asked for. It is not on the path of the query.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// What there is to say about one query.
pub(super) struct Row {
    pub(super) query: Query,
    pub(super) rows: usize,
    /// The median of the measured runs.
    pub(super) here: Duration,
    /// The same of the single process.
    pub(super) alone: Duration,
    pub(super) stages: usize,
    pub(super) tasks: u32,
    pub(super) exchanged: u64,
    /// The schedulers that drove its runs.
    pub(super) owners: BTreeSet<SchedulerId>,
    /// How many answers there are to be.
    pub(super) answers: usize,
    /// How many were compared with those of the single process.
    pub(super) compared: usize,
    /// In what the answers differ, if they do.
    pub(super) wrong: Option<String>,
}

impl Row {
    /// Nothing was measured yet of a query that is to be answered so often.
    pub(super) fn of(query: Query, answers: usize) -> Self {
        Row {
            query,
            rows: 0,
            here: Duration::ZERO,
            alone: Duration::ZERO,
            stages: 0,
            tasks: 0,
            exchanged: 0,
            owners: BTreeSet::new(),
            answers,
            compared: 0,
            wrong: None,
        }
    }

    /// What keeps it from agreeing: an answer that differs, or one that was compared with nothing.
    pub(super) fn problem(&self) -> Option<String> {
        let (answers, compared) = (self.answers, self.compared);
        let missing = || format!("{compared} of {answers} answers were compared");
        let wrong = self.wrong.clone();
        wrong.or_else(|| (compared != answers).then(missing))
    }
}

/// Runs a query once unmeasured and `runs` times measured, through all schedulers in turn, or until an
/// answer is wrong.
pub(super) async fn measure(
    stage: &mut Stage,
    query: &Query,
    scale: Scale,
    runs: u16,
) -> Result<Row, Failure> {
    let sql = query.sql(scale);
    let mut row = Row::of(*query, usize::from(runs) + 1);
    let (mut here, mut alone) = (Vec::new(), Vec::new());
    let first = usize::from(query.number());
    for run in 0..row.answers {
        let (expected, single) = stage.reference.run(&sql).await?;
        let (which, door) = stage.door(first + run)?;
        let label = format!("{query} scheduler {}", which + 1);
        let (answer, report, took) = match through(door, &label, &sql).await {
            Ok(done) => done,
            Err(error) => {
                row.wrong = Some(error.to_string());
                break;
            }
        };
        let expected_parts = (expected.schema.as_ref(), expected.batches.as_slice());
        let answer_parts = (answer.schema.as_ref(), answer.batches.as_slice());
        row.rows = answer.rows();
        if let Some(report) = report {
            describe(&mut row, report);
        }
        row.compared += 1;
        if let Err(difference) = compare(expected_parts, answer_parts, &query.order()) {
            row.wrong = Some(format!("scheduler {}: {difference}", which + 1));
            break;
        }
        if run > 0 {
            here.push(took);
            alone.push(single);
        }
    }
    (row.here, row.alone) = (median(&mut here), median(&mut alone));
    tell(&row);
    Ok(row)
}

/// Runs a statement through one scheduler and shows how far it is.
async fn through(
    door: &mut Door,
    label: &str,
    sql: &str,
) -> Result<(Answer, Option<QueryReport>, Duration), ClientError> {
    let started = Instant::now();
    let query = door.flight.start(sql).await?;
    let id = query.query;
    let watching = id.map(|id| tokio::spawn(watch(door.http.clone(), id, label.to_string())));
    let answer = door.flight.finish(query).await;
    let took = started.elapsed();
    if let Some(watching) = watching {
        watching.abort();
        // It has nothing to say any more; its end only has to be certain before the next line.
        let _ = watching.await;
    }
    let report = match id {
        Some(id) if answer.is_ok() => Some(door.http.query(id).await?),
        _ => None,
    };
    Ok((answer?, report, took))
}

async fn watch(http: Http, query: QueryId, label: String) {
    let line = progress::line();
    #[expect(
        clippy::disallowed_methods,
        reason = "people look on, and nobody else waits"
    )]
    let mut ticks = tokio::time::interval(ASK_EVERY);
    loop {
        ticks.tick().await;
        let Ok(report) = http.query(query).await else {
            continue;
        };
        line.set_message(so_far(&label, &report));
    }
}

/// How far a query is.
fn so_far(label: &str, report: &QueryReport) -> String {
    let finished = |stage: &&StageProgress| stage.tasks > 0 && stage.done == stage.tasks;
    let (done, tasks) = crate::command::tasks(report);
    format!(
        "{label}: {} of {} stages, {done} of {tasks} tasks, {:.1} s",
        report.stages.iter().filter(finished).count(),
        report.stages.len(),
        report.elapsed_seconds
    )
}

fn describe(row: &mut Row, report: QueryReport) {
    row.stages = report.stages.len();
    row.tasks = report.stages.iter().map(|stage| stage.tasks).sum();
    // What the last stage leaves is the result.
    let exchanges = report.stages.iter().rev().skip(1);
    row.exchanged = exchanges.map(|stage| stage.bytes).sum();
    row.owners.insert(report.owner);
}

fn tell(row: &Row) {
    let verdict = match row.problem() {
        None => "agrees".to_string(),
        Some(problem) => format!("WRONG: {problem}"),
    };
    progress::say(&format!(
        "{}: {} rows, {:.3} s here, {:.3} s in one process, {} stages, {} tasks, driven by {} \
         schedulers, {verdict}",
        row.query,
        row.rows,
        row.here.as_secs_f64(),
        row.alone.as_secs_f64(),
        row.stages,
        row.tasks,
        row.owners.len()
    ));
}

/// The middle one; of an even number, the upper of the two.
pub(super) fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use paceline_model::{Epoch, QueryState, StageId};
    use paceline_testkit::tpch_queries;

    use super::*;

    #[test]
    fn only_a_query_of_which_every_answer_was_compared_agrees() {
        let mut row = Row::of(tpch_queries()[0], 4);
        let none = "0 of 4 answers were compared";
        assert_eq!(row.problem().as_deref(), Some(none));
        row.compared = 3;
        assert!(row.problem().is_some());
        row.compared = 4;
        assert_eq!(row.problem(), None);
        row.wrong = Some("3 rows".to_string());
        assert_eq!(row.problem().as_deref(), Some("3 rows"));
    }

    #[test]
    fn progress_counts_the_stages_and_tasks_that_are_done() {
        let stage = |stage, tasks, done| StageProgress {
            stage: StageId(stage),
            tasks,
            done,
            ..StageProgress::default()
        };
        let report = QueryReport {
            query_id: QueryId(uuid::Uuid::nil()),
            state: QueryState::Running,
            owner: SchedulerId::new("s"),
            epoch: Epoch(0),
            sql: String::new(),
            submitted: false,
            accepted_at: None,
            elapsed_seconds: 1.25,
            planning_seconds: 0.0,
            // The last one has no tasks yet, so that it is not finished either.
            stages: vec![stage(0, 3, 3), stage(1, 2, 1), stage(2, 0, 0)],
            error: None,
            result: None,
        };
        let told = so_far("Q05 scheduler 2", &report);
        assert!(
            told.starts_with("Q05 scheduler 2: 1 of 3 stages, 4 of 5 tasks, 1."),
            "{told}"
        );
    }
}
