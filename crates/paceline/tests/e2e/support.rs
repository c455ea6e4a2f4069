//! Clusters, data and waiting.

use std::future::Future;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use paceline::client::{Answer, Http};
use paceline_frontend::QueryReport;
use paceline_store::StateLocation;
use paceline_testkit::{Cluster, ClusterPlan, Dataset, Scale};

use crate::left::{self, kept_for};
pub(crate) use crate::metrics::{labelled, metric, of_executors, of_schedulers};
pub(crate) use crate::patience::Flight;
use crate::patience::{in_time, limit_queries};
use crate::stored::files_below;
use crate::turn::Turn;

/// The executable under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_paceline");

/// A proxy that is not there: who is told of it and asks it gets no answer.
pub(crate) const NOBODY: &str = "http://127.0.0.1:1";

/// How long anything may take that is waited for.
const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(5);

/// The same for what does not come soon: looking takes the time of those that are looked at.
const LATE_LOOK: Duration = Duration::from_millis(25);
const SOON: Duration = Duration::from_secs(1);

/// TPC-H in the target directory.
pub(crate) fn tpch(scale: f64) -> Dataset {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let scale = Scale::new(scale).unwrap();
    Dataset::find_or_generate(parent, scale, 2, &|_| ControlFlow::Continue(())).unwrap()
}

/// A cluster in a directory of its own, and the turn of its test; all go with this value.
pub(crate) struct Running {
    pub(crate) cluster: Cluster,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) turn: Turn,
    /// Where its schedulers keep their state.
    pub(crate) state: StateLocation,
}

impl Running {
    /// Two schedulers and three executors of one slot; every plan is cut, however small.
    pub(crate) async fn start() -> Running {
        Running::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ClusterPlan)) -> Running {
        let turn = Turn::take().await;
        let directory = tempfile::tempdir().unwrap();
        let mut plan = ClusterPlan::new(PROGRAM, directory.path());
        plan.scheduler_flags = flags(&["--scheduler-small-plan-bytes", "0"]);
        plan.executor_flags = flags(&["--executor-memory-limit", "2GiB"]);
        change(&mut plan);
        limit_queries(&mut plan);
        let state = left::location(&plan);
        let cluster = Cluster::start(plan)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        Running {
            cluster,
            directory,
            turn,
            state,
        }
    }

    /// The same with TPC-H at scale 0.1.
    pub(crate) async fn with_tpch() -> Running {
        let running = Running::start().await;
        running.create_tpch().await;
        running
    }

    /// The same, where results go so soon after they were read: what stays longer was left behind.
    pub(crate) async fn with_tpch_kept_for(ttl: &str) -> Running {
        let running = Running::start_with(|plan| kept_for(plan, ttl)).await;
        running.create_tpch().await;
        running
    }

    pub(crate) async fn create_tpch(&self) {
        let mut flight = self.flight(0).await;
        for statement in tpch(0.1).create_statements() {
            flight.run(&statement).await.unwrap();
        }
    }

    pub(crate) async fn flight(&self, scheduler: usize) -> Flight {
        let address = &self.cluster.schedulers()[scheduler].announced().flight;
        Flight::connect(address).await
    }

    pub(crate) fn http(&self, scheduler: usize) -> Http {
        Http::new(&self.cluster.schedulers()[scheduler].announced().http)
    }

    /// Sends a statement to `POST /v1/sql` of a scheduler under an `Idempotency-Key`: the status and
    /// the body, as JSON, unless the connection fails.
    pub(crate) fn post_named(
        &self,
        scheduler: usize,
        key: &str,
        sql: String,
    ) -> impl Future<Output = Result<(reqwest::StatusCode, String), reqwest::Error>> + Send + use<>
    {
        let address = &self.cluster.schedulers()[scheduler].announced().http;
        let request = reqwest::Client::new()
            .post(format!("http://{address}/v1/sql"))
            .header("content-type", "text/plain")
            .header("accept", "application/json")
            .header("idempotency-key", key)
            .body(sql);
        let asked = async move {
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.text().await?))
        };
        in_time("a statement with a name", asked)
    }

    /// Starts a statement on a task of its own, and waits until the report of its query fulfils
    /// `reached`. The answer comes from the returned task.
    pub(crate) async fn start_until(
        &self,
        sql: &str,
        reached: impl Fn(&QueryReport) -> bool,
    ) -> (tokio::task::JoinHandle<Result<Answer, String>>, QueryReport) {
        let mut flight = self.flight(0).await;
        let http = self.http(0);
        let started = flight.start(sql).await.unwrap();
        let query = started.query.unwrap();
        let answer = tokio::spawn(async move {
            flight
                .finish(started)
                .await
                .map_err(|error| error.to_string())
        });
        let report = until("the query comes so far", || async {
            let report = http.query(query).await.unwrap();
            assert!(!report.state.is_final(), "it ended too soon: {report:?}");
            reached(&report).then_some(report)
        })
        .await;
        (answer, report)
    }

    /// Every file below the directories of the executors that belongs to a query: all but the locks
    /// that say which process has a directory.
    pub(crate) fn executor_files(&self) -> Vec<PathBuf> {
        let mut files = files_below(self.directory.path());
        let outside = |path: &PathBuf| {
            if path.file_name().is_some_and(|name| name == "lock") {
                return true;
            }
            let path = path.strip_prefix(self.directory.path()).unwrap();
            path.starts_with("logs") || path.starts_with("state")
        };
        files.retain(|path| !outside(path));
        files
    }
}

/// Says that something is not tested here, past the test harness, which shows nothing of a test that passes.
pub(crate) fn not_run(what: &str) {
    let _ = writeln!(std::io::stderr(), "NOT RUN: {what}");
}

pub(crate) async fn text_of(url: &str) -> String {
    let asked = async { reqwest::get(url).await.unwrap().text().await.unwrap() };
    in_time(url, asked).await
}

pub(crate) fn flags(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

/// Waits for something that another process does, and fails when it takes too long.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let begun = Instant::now();
    loop {
        match tokio::time::timeout(DEADLINE, look()).await {
            Ok(Some(found)) => return found,
            Ok(None) => {}
            Err(_) => panic!("no look ended in {DEADLINE:?}, and none saw that {what}"),
        }
        let waited = begun.elapsed();
        assert!(waited < DEADLINE, "waited too long until {what}");
        tokio::time::sleep(if waited < SOON { LOOK } else { LATE_LOOK }).await;
    }
}

/// Something is finished and something is not: there is an output to lose.
pub(crate) fn midway(report: &QueryReport) -> bool {
    report.stages.iter().any(|stage| stage.done > 0)
}

/// All tasks of the join of [`SLOW`] run: what comes before is done, and what comes after has not
/// begun.
pub(crate) fn joining(report: &QueryReport) -> bool {
    let join = report.stages.iter().rev().nth(1);
    join.is_some_and(|stage| stage.tasks > 1 && stage.running == stage.tasks)
}

/// How many attempts a query has made at its tasks, and how many tasks it has.
pub(crate) fn attempts(report: &QueryReport) -> (u32, u32) {
    let stages = &report.stages;
    (
        stages.iter().map(|stage| stage.attempts).sum(),
        stages.iter().map(|stage| stage.tasks).sum(),
    )
}

/// A join in a few stages, with one row as its answer. It takes more than a second on two fast cores, so it
/// is far from its end when a fault strikes that waits for its first output.
pub(crate) const SLOW: &str = "select count(*) as n, sum(a.l_quantity + b.l_quantity) as q, \
     min(a.l_orderkey * 3 + b.l_orderkey) as o, max(a.l_comment) as c \
     from lineitem a join lineitem b on a.l_suppkey = b.l_suppkey \
     where a.l_orderkey % 6 = 0 and a.l_orderkey % 7 <> b.l_orderkey % 5";
