//! Every scheduler is stopped and started again in turn, while clients of every kind are at work.

use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use paceline::client::{Anywhere, ClientError, Http, Rows, SubmitRequest};
use paceline_model::{QueryId, QueryState};
use paceline_testkit::Role;
use tokio_util::sync::CancellationToken;

use crate::left::nothing_is_left_but;
use crate::support::{Running, SLOW, check, reference};
use crate::takeover::{ask, begin, midway};

const SMALL: &str = "select n_regionkey, count(*) as n from nation group by n_regionkey order by 1";

/// The rows of [`SMALL`].
const REGIONS: usize = 5;

/// Within which every client must have its answer.
const LIMIT: Duration = Duration::from_secs(30);

/// How long one scheduler is waited for before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two questions: it is not the load that is measured.
const PAUSE: Duration = Duration::from_millis(30);

const ARROW: &str = "application/vnd.apache.arrow.stream";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_query() {
    let mut running = Running::with_tpch_kept_for("5s").await;
    let reference = reference().await;
    let clients = Clients::of(&running);
    let stop = CancellationToken::new();
    let load = [
        tokio::spawn(clients.clone().over_flight(stop.clone())),
        tokio::spawn(clients.clone().over_http(stop.clone())),
        tokio::spawn(clients.clone().submitting(stop.clone())),
    ];
    for scheduler in 0..2 {
        let (started, query) = begin(&running, scheduler, midway).await;
        let stopping = running.cluster.stop(Role::Scheduler, scheduler);
        stopping.await.unwrap();
        let other = 1 - scheduler;
        let answer = ask(&running, other, &started).await.unwrap();
        let report = running.http(other).query(query).await.unwrap();
        assert_eq!(report.epoch.0, 1, "it was handed over: {report:?}");
        check(&reference, SLOW, &answer).await.unwrap();
        let starting = running.cluster.restart(Role::Scheduler, scheduler);
        starting.await.unwrap();
        running.cluster.ready().await.unwrap();
    }
    stop.cancel();
    let mut kept = Vec::new();
    for client in load {
        let came = client.await.unwrap();
        assert_eq!(came.failures, Vec::<String>::new());
        assert!(came.answers >= 5, "it was hardly asked: {came:?}");
        kept.extend(came.kept);
    }
    nothing_is_left_but(&running, &kept).await;
}

/// What a client has come to.
#[derive(Debug, Default)]
struct Came {
    answers: usize,
    failures: Vec<String>,
    /// Queries whose results are kept.
    kept: Vec<QueryId>,
}

impl Came {
    fn note(&mut self, rows: Result<usize, String>) {
        match rows {
            Ok(REGIONS) => self.answers += 1,
            Ok(rows) => self.failures.push(format!("{rows} rows")),
            Err(problem) => self.failures.push(problem),
        }
    }
}

/// Clients that try the next address when nobody answers at one, as each of them would on its own, or
/// by a load balancer.
#[derive(Debug, Clone)]
struct Clients {
    flight: Vec<String>,
    http: Vec<Http>,
}

impl Clients {
    fn of(running: &Running) -> Self {
        let nodes = running.cluster.schedulers();
        Clients {
            flight: nodes.iter().map(|n| n.announced().flight.clone()).collect(),
            http: (0..nodes.len()).map(|n| running.http(n)).collect(),
        }
    }

    /// Flight SQL: what was accepted is asked for again with the same ticket.
    async fn over_flight(self, stop: CancellationToken) -> Came {
        let anywhere = Anywhere::new(self.flight, LIMIT);
        let (mut came, mut turn) = (Came::default(), 0);
        while !stop.is_cancelled() {
            turn += 1;
            let answer = anywhere.run(turn, SMALL, |_| std::future::ready(()));
            let rows = answer.await.map(|answer| answer.rows());
            came.note(rows.map_err(|error| error.to_string()));
            tokio::time::sleep(PAUSE).await;
        }
        came
    }

    /// SQL over HTTP.
    async fn over_http(self, stop: CancellationToken) -> Came {
        let (mut came, mut turn) = (Came::default(), 0);
        while !stop.is_cancelled() {
            turn += 1;
            let rows = self.anywhere(turn, |http| {
                let once = async move { count(http.sql(SMALL, None, ARROW).await?).await };
                once.boxed()
            });
            came.note(rows.await);
            tokio::time::sleep(PAUSE).await;
        }
        came
    }

    /// Statements that run by themselves.
    async fn submitting(self, stop: CancellationToken) -> Came {
        let (mut came, mut turn) = (Came::default(), 0);
        while !stop.is_cancelled() {
            turn += 1;
            match self.submit(turn).await {
                Ok(query) => {
                    came.kept.push(query);
                    came.note(self.result(turn, query).await);
                }
                Err(problem) => came.failures.push(problem),
            }
            tokio::time::sleep(PAUSE).await;
        }
        came
    }

    async fn submit(&self, turn: usize) -> Result<QueryId, String> {
        let submitted = self.anywhere(turn, |http| {
            let once = async move {
                let request = SubmitRequest {
                    sql: SMALL.to_string(),
                    ..SubmitRequest::default()
                };
                let key = format!("statement {turn}");
                let accepted = http.submit(&request, Some(&key)).await?;
                Ok(accepted.query_id)
            };
            once.boxed()
        });
        submitted.await
    }

    async fn result(&self, turn: usize, query: QueryId) -> Result<usize, String> {
        let begun = Instant::now();
        loop {
            let report = self.anywhere(turn, |http| async move { http.query(query).await }.boxed());
            let report = report.await?;
            match report.state {
                QueryState::Finished => break,
                QueryState::Queued | QueryState::Running if begun.elapsed() < LIMIT => {}
                _ => return Err(format!("{report:?}")),
            }
            tokio::time::sleep(PAUSE).await;
        }
        let rows = self.anywhere(turn + 1, |http| {
            let once = async move { count(http.results(query, None, ARROW).await?).await };
            once.boxed()
        });
        rows.await
    }

    /// Tries at each scheduler in turn until one try succeeds, or fails for good.
    async fn anywhere<T>(
        &self,
        first: usize,
        once: impl Fn(Http) -> BoxFuture<'static, Result<T, ClientError>>,
    ) -> Result<T, String> {
        let begun = Instant::now();
        let mut turn = first;
        loop {
            let http = self.http[turn % self.http.len()].clone();
            let last = match tokio::time::timeout(PATIENCE, once(http)).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) if !error.is_worth_another_try() => return Err(error.to_string()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {PATIENCE:?}"),
            };
            if begun.elapsed() > LIMIT {
                return Err(format!("not within {LIMIT:?}; at last: {last}"));
            }
            tokio::time::sleep(PAUSE).await;
            turn += 1;
        }
    }
}

/// How many rows come.
async fn count(mut rows: Rows) -> Result<usize, ClientError> {
    let mut body = Vec::new();
    while let Some(bytes) = rows.next().await? {
        body.extend(bytes);
    }
    let reader = arrow::ipc::reader::StreamReader::try_new(&body[..], None).unwrap();
    Ok(reader.map(|batch| batch.unwrap().num_rows()).sum())
}
