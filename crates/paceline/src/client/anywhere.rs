//! A client of all schedulers: what one of them accepted it asks the next one for, with the same ticket.

use std::future::Future;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use paceline_model::QueryId;

use super::{Answer, ClientError, Flight, Started};

/// How long one scheduler is waited for before another one is asked. Nothing is lost by asking: the
/// query goes on, and its result can be read from its start again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two questions that were not answered.
const PAUSE: Duration = Duration::from_millis(50);

/// Something that happens on the way to an answer.
#[derive(Debug)]
pub enum Moment {
    /// A scheduler is there, and the statement is about to be sent to it.
    Sending,
    /// The statement was accepted.
    Started {
        /// Which query it is, if the server says.
        query: Option<QueryId>,
        /// Which scheduler accepted it.
        at: usize,
    },
    /// Rows came.
    Rows {
        /// How many there are so far.
        rows: usize,
    },
    /// A scheduler did not answer; the next one is asked.
    Turned {
        /// Which scheduler it was.
        from: usize,
        /// Why.
        error: ClientError,
    },
}

/// All schedulers of a cluster, by the addresses of their Flight SQL ports.
#[derive(Debug, Clone)]
pub struct Anywhere {
    addresses: Vec<String>,
    limit: Duration,
}

impl Anywhere {
    /// A client that asks for no longer than `limit`.
    pub fn new(addresses: Vec<String>, limit: Duration) -> Self {
        Anywhere { addresses, limit }
    }

    /// Runs a statement that only reads, first at the scheduler of that number. `on` is told what
    /// happens, and waited for.
    ///
    /// # Errors
    /// Why the query failed; or what the last scheduler said, once the time is over.
    pub async fn run<F: Future<Output = ()>>(
        &self,
        first: usize,
        sql: &str,
        mut on: impl FnMut(Moment) -> F,
    ) -> Result<Answer, ClientError> {
        let begun = Instant::now();
        let mut started = None;
        let mut turn = first;
        loop {
            let at = turn % self.addresses.len().max(1);
            let once = self.once(at, sql, &mut started, &mut on);
            let error = match tokio::time::timeout(PATIENCE, once).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if error.is_worth_another_try() => error,
                Ok(Err(error)) => return Err(error),
                Err(_) => self.silent(at),
            };
            if begun.elapsed() >= self.limit {
                return Err(error);
            }
            on(Moment::Turned { from: at, error }).await;
            #[expect(
                clippy::disallowed_methods,
                reason = "before the next scheduler is asked, which may be the only one"
            )]
            tokio::time::sleep(PAUSE).await;
            turn += 1;
        }
    }

    fn silent(&self, at: usize) -> ClientError {
        ClientError::Unreachable {
            address: self.addresses.get(at).cloned().unwrap_or_default(),
            reason: format!("no answer within {PATIENCE:?}"),
        }
    }

    async fn once<F: Future<Output = ()>>(
        &self,
        at: usize,
        sql: &str,
        started: &mut Option<Started>,
        on: &mut impl FnMut(Moment) -> F,
    ) -> Result<Answer, ClientError> {
        let address = self.addresses.get(at).map_or("", String::as_str);
        let mut flight = Flight::connect(address).await?;
        let known = match started {
            Some(known) => known.clone(),
            None => {
                on(Moment::Sending).await;
                let accepted = flight.start(sql).await?;
                let query = accepted.query;
                *started = Some(accepted.clone());
                on(Moment::Started { query, at }).await;
                accepted
            }
        };
        let mut rows = flight.rows(&known).await?;
        let mut batches = Vec::new();
        let mut count = 0;
        while let Some(batch) = rows
            .try_next()
            .await
            .map_err(|error| ClientError::flight(address, error))?
        {
            count += batch.num_rows();
            batches.push(batch);
            on(Moment::Rows { rows: count }).await;
        }
        let schema = rows.schema().cloned().unwrap_or(known.schema);
        Ok(Answer { schema, batches })
    }
}
