//! TPC-DS: data and texts come from a Python package, because neither may be stored here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use paceline_testkit::Reference;

use crate::answers::check_something;
use crate::divided::{SLOTS, well_divided};
use crate::python::{Outcome, run_script};
use crate::support::{Running, of_schedulers};
use crate::tpcds_set::{self, SCALES};
use crate::turn::Turn;

/// A directory with tables and queries, made now unless it was made before.
async fn directory(scale: &str) -> Option<PathBuf> {
    let directory = tpcds_set::directory(scale);
    if directory.is_dir() {
        return Some(directory);
    }
    // It takes a core for a while.
    let _turn = Turn::take().await;
    match run_script(
        &tpcds_set::script(),
        &[&directory.display().to_string(), scale],
        "PACELINE_REQUIRE_TPCDS",
    ) {
        Outcome::Done => Some(directory),
        Outcome::NotInstalled => None,
    }
}

/// A cluster and one process that know the same tables.
struct Both {
    running: Running,
    reference: Reference,
}

impl Both {
    async fn start(directory: &Path) -> Both {
        let running = Running::start_with(|plan| plan.slots = SLOTS).await;
        let reference = Reference::new(2);
        let mut flight = running.flight(0).await;
        for create in tpcds_set::create_statements(directory) {
            flight.run(&create).await.unwrap();
            reference.run(&create).await.unwrap();
        }
        Both { running, reference }
    }

    /// What both say to a statement is the same, and something; so many of its stages had fat tasks.
    async fn agree(&self, scheduler: usize, sql: &str) -> Result<usize, String> {
        let text = |error: paceline::client::ClientError| error.to_string();
        let mut flight = self.running.flight(scheduler).await;
        let started = flight.start(sql).await.map_err(text)?;
        let query = started.query.ok_or("it is run by no executor")?;
        let answer = flight.finish(started).await.map_err(text)?;
        check_something(&self.reference, sql, &answer).await?;
        let report = self.running.http(scheduler).query(query).await;
        let report = report.map_err(text)?;
        well_divided(&self.running, scheduler, sql, &report).await
    }

    /// What is wrong with the answers to the queries, which come through both schedulers in turn.
    async fn disagree(&self, queries: &BTreeMap<String, String>) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut fat = 0;
        for (index, (number, sql)) in queries.iter().enumerate() {
            match self.agree(index % 2, sql).await {
                Ok(stages) => fat += stages,
                Err(problem) => wrong.push(format!("Q{number}: {problem}")),
            }
        }
        if fat <= 2 * queries.len() {
            wrong.push(format!("only {fat} stages had fat tasks"));
        }
        let again = of_schedulers(&self.running, "paceline_task_reruns_total").await;
        if again > 0.0 {
            wrong.push(format!("{again} tasks were run again"));
        }
        wrong
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_99_queries_agree_with_one_process() {
    let mut asked = 0;
    let mut wrong = Vec::new();
    for scale in SCALES {
        let Some(directory) = directory(scale).await else {
            return;
        };
        let queries = tpcds_set::queries(&directory, scale);
        let both = Both::start(&directory).await;
        wrong.extend(both.disagree(&queries).await);
        asked += queries.len();
    }
    assert_eq!(asked, 99);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
