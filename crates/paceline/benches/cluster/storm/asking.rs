//! The client of a round. It knows all schedulers, and asks the next one when one does not answer.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use paceline::client::{Answer, Anywhere, ClientError, Http, Moment, SubmitRequest};
use paceline_model::{QueryId, QueryState};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::forecast::Way;
use super::world::{Addresses, text};

/// Within which every client must have its answer.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// How long one scheduler is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(30);

const ARROW: &str = "application/vnd.apache.arrow.stream";

/// Of the tries that failed before an answer did, so many are told of.
const LAST_TRIES: usize = 5;

/// What a client had of what it asked for when a try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Had {
    /// Nothing. Whether what it sent had arrived it cannot know.
    Nothing,
    /// A ticket for the result, as Flight SQL gives it.
    Ticket,
    /// The beginning of the answer.
    Answer,
}

/// A try that failed; then the next scheduler was asked.
#[derive(Debug, Clone)]
pub(crate) struct Turned {
    pub(crate) had: Had,
    pub(crate) why: String,
}

impl fmt::Display for Turned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let had = match self.had {
            Had::Nothing => "before any of the answer",
            Had::Ticket => "with a ticket",
            Had::Answer => "in the middle of the answer",
        };
        write!(f, "{had}: {}", self.why)
    }
}

/// What the client has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// A scheduler is there, and the statement is on its way.
    pub(crate) sending: bool,
    pub(crate) query: Option<QueryId>,
    /// Something of the result came.
    pub(crate) reading: bool,
    /// The try that is under way is being answered.
    answering: bool,
    /// The tries that failed.
    pub(crate) turned: Vec<Turned>,
}

/// A client at work.
pub(crate) struct Asking {
    pub(crate) seen: watch::Receiver<Seen>,
    go_on: watch::Sender<bool>,
    answer: JoinHandle<Result<Answer, String>>,
}

/// What is to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) way: Way,
    pub(crate) entry: usize,
    pub(crate) sql: String,
    pub(crate) key: String,
    /// Whether the client stops after the first part of the result until it is told to go on.
    pub(crate) holds: bool,
}

impl Asking {
    pub(crate) fn begin(question: Question, addresses: Addresses) -> Asking {
        let (tell, seen) = watch::channel(Seen::default());
        let (go_on, may_go_on) = watch::channel(!question.holds);
        let client = Client {
            question,
            addresses,
            tell: Arc::new(tell),
            may_go_on,
        };
        let answer = tokio::spawn(async move {
            match client.question.way {
                Way::Flight => client.flight().await,
                Way::Named | Way::Written => client.named().await,
                Way::Submitted => client.submitted().await,
            }
        });
        Asking {
            seen,
            go_on,
            answer,
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.answer.is_finished()
    }

    /// Lets the client read on.
    pub(crate) fn go_on(&self) {
        self.go_on.send_replace(true);
    }

    pub(crate) async fn answer(self) -> Result<Answer, String> {
        let answer = timeout(LIMIT + PATIENCE, self.answer).await;
        let answer = answer.map_err(|_| format!("no answer within {LIMIT:?}"))?;
        answer.map_err(text)?.map_err(|problem| {
            let seen = self.seen.borrow();
            let last = seen.turned.iter().rev().take(LAST_TRIES);
            last.fold(problem, |told, turned| format!("{told}; {turned}"))
        })
    }
}

struct Client {
    question: Question,
    addresses: Addresses,
    tell: Arc<watch::Sender<Seen>>,
    may_go_on: watch::Receiver<bool>,
}

/// How a try ended that may be followed by another one.
type Try<T> = Result<T, ClientError>;

impl Client {
    async fn flight(&self) -> Result<Answer, String> {
        let anywhere = Anywhere::new(self.addresses.flight.clone(), LIMIT);
        let on = |moment| {
            match moment {
                Moment::Sending => self.tell.send_modify(|seen| seen.sending = true),
                Moment::Started { query, .. } => self.tell.send_modify(|seen| seen.query = query),
                Moment::Rows { .. } => self.rows_came(),
                Moment::Turned { error, .. } => self.turned(&error.to_string()),
            }
            self.hold()
        };
        let answer = anywhere.run(self.question.entry, &self.question.sql, on);
        answer.await.map_err(text)
    }

    fn rows_came(&self) {
        self.tell
            .send_modify(|seen| (seen.reading, seen.answering) = (true, true));
    }

    /// A try failed.
    fn turned(&self, why: &str) {
        self.tell.send_modify(|seen| {
            let has_ticket = self.question.way == Way::Flight && seen.query.is_some();
            let had = match std::mem::take(&mut seen.answering) {
                true => Had::Answer,
                false if has_ticket => Had::Ticket,
                false => Had::Nothing,
            };
            let why = why.to_string();
            seen.turned.push(Turned { had, why });
        });
    }

    /// Waits to be told to go on, once something of the result is there.
    async fn hold(&self) {
        if self.tell.borrow().reading {
            let mut may = self.may_go_on.clone();
            // If nobody can tell any more, nobody waits for the answer either.
            let _ = may.wait_for(|may| *may).await;
        }
    }

    /// Tries at each scheduler in turn until one try succeeds, or fails for good.
    async fn anywhere<'a, T>(
        &'a self,
        what: &str,
        once: impl Fn(Http) -> BoxFuture<'a, Try<T>>,
    ) -> Result<T, String> {
        let https: Vec<Http> = self.addresses.http.iter().map(|a| Http::new(a)).collect();
        let begun = Instant::now();
        let mut turn = self.question.entry;
        loop {
            let http = https[turn % https.len()].clone();
            let last = match timeout(PATIENCE, once(http)).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) if !error.is_worth_another_try() => {
                    return Err(format!("{what}: {error}"));
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {PATIENCE:?}"),
            };
            self.turned(&last);
            if begun.elapsed() > LIMIT {
                return Err(format!("{what}: not within {LIMIT:?}"));
            }
            tokio::time::sleep(PAUSE).await;
            turn += 1;
        }
    }

    async fn named(&self) -> Result<Answer, String> {
        let question = &self.question;
        let rows = self.anywhere("POST /v1/sql", |http| {
            let once = async move {
                self.tell.send_modify(|seen| seen.sending = true);
                let mut rows = http.sql(&question.sql, Some(&question.key), ARROW).await?;
                self.read(&mut rows).await
            };
            once.boxed()
        });
        decode(&rows.await?)
    }

    async fn read(&self, rows: &mut paceline::client::Rows) -> Try<Vec<u8>> {
        self.tell.send_modify(|seen| seen.answering = true);
        let mut body = Vec::new();
        while let Some(bytes) = rows.next().await? {
            body.extend(bytes);
            self.rows_came();
            self.hold().await;
        }
        // What is asked for next has no answer yet.
        self.tell.send_modify(|seen| seen.answering = false);
        Ok(body)
    }

    async fn submitted(&self) -> Result<Answer, String> {
        let query = self.anywhere("POST /v1/queries", |http| {
            let once = async move {
                let request = SubmitRequest {
                    sql: self.question.sql.clone(),
                    ..SubmitRequest::default()
                };
                self.tell.send_modify(|seen| seen.sending = true);
                let accepted = http.submit(&request, Some(&self.question.key)).await?;
                Ok(accepted.query_id)
            };
            once.boxed()
        });
        let query = query.await?;
        self.tell.send_modify(|seen| seen.query = Some(query));
        loop {
            let report = self.anywhere("an acknowledged query", |http| {
                async move { http.query(query).await }.boxed()
            });
            let report = report.await?;
            match report.state {
                QueryState::Queued | QueryState::Running => tokio::time::sleep(PAUSE).await,
                QueryState::Finished => break,
                QueryState::Failed | QueryState::Cancelled => return Err(format!("{report:?}")),
            }
        }
        let rows = self.anywhere("an acknowledged query's result", |http| {
            let once = async move {
                let mut rows = http.results(query, None, ARROW).await?;
                self.read(&mut rows).await
            };
            once.boxed()
        });
        decode(&rows.await?)
    }
}

fn decode(body: &[u8]) -> Result<Answer, String> {
    let reader = arrow::ipc::reader::StreamReader::try_new(body, None).map_err(text)?;
    Ok(Answer {
        schema: reader.schema(),
        batches: reader.collect::<Result<_, _>>().map_err(text)?,
    })
}
