//! Nothing is waited for without an end: what hangs fails, and says what it was.

use std::future::Future;
use std::time::Duration;

use arrow_flight::decode::FlightRecordBatchStream;
use paceline::client::{self, Answer, ClientError, Started};
use paceline_testkit::ClusterPlan;
use tokio::time::timeout;

use crate::support::flags;

/// Far longer than any query takes here: one that takes longer waits for what will never come.
const QUERY_LIMIT: &str = "180s";

/// Longer than that: a scheduler that still answers says more.
const PATIENCE: Duration = Duration::from_secs(240);

/// Gives queries a limit, unless the test has given them one.
pub(crate) fn limit_queries(plan: &mut ClusterPlan) {
    const LIMIT: &str = "--scheduler-query-timeout";
    if !plan.scheduler_flags.iter().any(|flag| flag == LIMIT) {
        plan.scheduler_flags.extend(flags(&[LIMIT, QUERY_LIMIT]));
    }
}

/// What is waited for, unless it never comes.
pub(crate) async fn in_time<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, waiting).await {
        Ok(came) => came,
        Err(_) => panic!("waited for {PATIENCE:?}, and there is no end of: {what}"),
    }
}

/// A connection to one scheduler's Flight SQL port.
pub(crate) struct Flight(client::Flight);

impl Flight {
    pub(crate) async fn connect(address: &str) -> Flight {
        let connected = in_time(address, client::Flight::connect(address)).await;
        Flight(connected.unwrap())
    }

    pub(crate) async fn start(&mut self, sql: &str) -> Result<Started, ClientError> {
        in_time(sql, self.0.start(sql)).await
    }

    pub(crate) async fn rows(
        &mut self,
        started: &Started,
    ) -> Result<FlightRecordBatchStream, ClientError> {
        in_time("the start of a result", self.0.rows(started)).await
    }

    pub(crate) async fn finish(&mut self, started: Started) -> Result<Answer, ClientError> {
        in_time("a result", self.0.finish(started)).await
    }

    pub(crate) async fn run(&mut self, sql: &str) -> Result<Answer, ClientError> {
        in_time(sql, self.0.run(sql)).await
    }
}
