//! A scheduler that was told to stop, as its clients see it: none of them has to ask twice.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use futures::TryStreamExt;
use paceline::client::{Answer, Started, SubmitRequest};
use paceline_frontend::SchedulerStatus;
use paceline_model::{QueryId, QueryState};
use paceline_testkit::Role;

use crate::answers::agrees;
use crate::api::{ARROW, LARGE, read};
use crate::handover::{Unattended, Written};
use crate::rolling::SMALL;
use crate::support::{Flight, Running, SLOW, labelled, midway, text_of, until};
use crate::takeover::{ask, begin};

/// Within which a scheduler ends whose clients have their answers.
const LIMIT: Duration = Duration::from_secs(60);

/// Tells a scheduler to stop while one of its clients waits for an answer, another one reads, a third one
/// waits for a write that is about to be committed, a submission runs, and others come; waits for its end, and
/// returns the queries whose results are kept. One [`WRITE`](crate::rolling::WRITE) took effect.
pub(crate) async fn leaves(running: &mut Running, leaving: usize) -> Vec<QueryId> {
    let other = 1 - leaving;
    knows(running, leaving, other).await;
    let large = running.flight(leaving).await.start(LARGE).await.unwrap();
    let mut reading = Coming::begin(running, leaving, &large).await;
    // It has some of it, and there is more than a connection takes in: as long as it stays there, so does
    // the scheduler.
    assert!(reading.next().await.unwrap());
    // The tasks of a write are few, and would have to wait for those of the others.
    let write = Written::at_its_commit(running, leaving).await;
    let (started, query) = begin(running, leaving, midway).await;
    let waiting = Coming::begin(running, leaving, &started).await;
    let unattended = Unattended::submit(running, leaving).await;
    write.is_not_committed(running);
    tell_to_stop(running, leaving).await;
    let write = write.see_it_handed_over(running, other).await;
    let sent_on = SentOn::begin(running, leaving).await;
    // A result is kept for some seconds after it was read, and the other answer may take longer.
    for (sql, started, answer) in [(LARGE, &large, reading), (SLOW, &started, waiting)] {
        agrees(sql, &answer.rest().await.unwrap()).await.unwrap();
        let again = ask(running, other, started).await.unwrap();
        agrees(sql, &again).await.unwrap();
    }
    let report = running.http(other).query(query).await.unwrap();
    assert_eq!(report.epoch.0, 1, "it was handed over: {report:?}");
    write.took_effect_once(running).await;
    unattended.ends_at(running, other).await;
    ends(running, leaving).await;
    // It sealed its journal itself: whoever had taken it for dead would have won that.
    let seals = labelled(running, other, "paceline_journal_seals_total", "won").await;
    assert_eq!(seals, 0.0, "it was not handed over");
    sent_on.ends_in_time(running, other).await;
    vec![sent_on.brief, unattended.query]
}

/// An answer on its way.
pub(crate) struct Coming {
    /// The connection that it comes through.
    _flight: Flight,
    rows: FlightRecordBatchStream,
    started: Started,
    batches: Vec<RecordBatch>,
}

impl Coming {
    /// Returns once the scheduler has the client in its `DoGet`.
    pub(crate) async fn begin(running: &Running, scheduler: usize, started: &Started) -> Coming {
        let mut flight = running.flight(scheduler).await;
        Coming {
            rows: flight.rows(started).await.unwrap(),
            _flight: flight,
            started: started.clone(),
            batches: Vec::new(),
        }
    }

    /// Reads the next rows; false at the end.
    async fn next(&mut self) -> Result<bool, String> {
        let next = self.rows.try_next().await;
        let next = next.map_err(|error| error.to_string())?;
        let any = next.is_some();
        self.batches.extend(next);
        Ok(any)
    }

    pub(crate) async fn rest(mut self) -> Result<Answer, String> {
        while self.next().await? {}
        let schema = self.rows.schema().cloned();
        Ok(Answer {
            schema: schema.unwrap_or(self.started.schema),
            batches: self.batches,
        })
    }
}

/// What was sent to a scheduler that was about to leave, and runs by itself at the other one.
struct SentOn {
    /// Its result is kept for a second.
    brief: QueryId,
    /// It may take much less time than it needs.
    hurried: QueryId,
}

impl SentOn {
    /// Sends a statement of each kind, once.
    async fn begin(running: &Running, leaving: usize) -> SentOn {
        let other = running.http(1 - leaving);
        let owner = other.status().await.unwrap().scheduler;
        let mut flight = running.flight(leaving).await;
        let started = flight.start(SMALL).await.unwrap();
        let query = started.query.unwrap();
        let answer = flight.finish(started).await.unwrap();
        agrees(SMALL, &answer).await.unwrap();
        assert_eq!(other.query(query).await.unwrap().owner, owner);

        let http = running.http(leaving);
        let key = format!("while {leaving} leaves");
        let rows = http.sql(SMALL, Some(&key), ARROW).await.unwrap();
        agrees(SMALL, &read(rows).await).await.unwrap();

        let brief = SubmitRequest {
            sql: SMALL.to_string(),
            result_ttl: Some("1s".to_string()),
            ..SubmitRequest::default()
        };
        let hurried = SubmitRequest {
            sql: SLOW.to_string(),
            timeout: Some("100ms".to_string()),
            ..SubmitRequest::default()
        };
        let [brief, hurried] = [brief, hurried].map(|request| {
            let http = http.clone();
            async move { http.submit(&request, None).await.unwrap() }
        });
        let [brief, hurried] = [brief.await, hurried.await];
        assert_eq!([&brief.owner, &hurried.owner], [&owner, &owner]);
        SentOn {
            brief: brief.query_id,
            hurried: hurried.query_id,
        }
    }

    /// What their client wanted of them came along.
    async fn ends_in_time(&self, running: &Running, other: usize) {
        let http = running.http(other);
        let report = until("its limit is over", || async {
            let report = http.query(self.hurried).await.unwrap();
            report.state.is_final().then_some(report)
        })
        .await;
        let error = report.error.map(|error| error.message).unwrap_or_default();
        assert!(error.contains("limit of 100ms"), "{error}");
        until("its result has gone", || async {
            let Err(error) = http.results(self.brief, None, ARROW).await else {
                return None;
            };
            let said = error.to_string();
            said.contains("its time is over").then_some(())
        })
        .await;
        let report = http.query(self.brief).await.unwrap();
        assert_eq!(report.state, QueryState::Finished, "{report:?}");
    }
}

/// Waits until a scheduler knows that the other one is there: it has nobody to hand over to before.
async fn knows(running: &Running, scheduler: usize, other: usize) {
    let other = running.http(other).status().await.unwrap().scheduler;
    let http = running.http(scheduler);
    until("they know each other", || async {
        let known = http.status().await.unwrap().schedulers;
        let it = |known: &SchedulerStatus| known.live && known.id == other;
        known.iter().any(it).then_some(())
    })
    .await;
}

/// Returns once the scheduler says that it leaves.
async fn tell_to_stop(running: &mut Running, scheduler: usize) {
    let node = running.cluster.node(Role::Scheduler, scheduler).unwrap();
    let ready = format!("http://{}/v1/ready", node.announced().http);
    node.process().unwrap().terminate().unwrap();
    until("it says that it leaves", || async {
        let said = text_of(&ready).await;
        said.contains("shutting down").then_some(())
    })
    .await;
}

/// Waits for the end of a scheduler that was told to stop. Told again, it would not wait for its clients.
async fn ends(running: &mut Running, scheduler: usize) {
    let node = running.cluster.node(Role::Scheduler, scheduler).unwrap();
    let ended = node.process().unwrap().wait();
    let ended = tokio::time::timeout(LIMIT, ended).await;
    let status = ended.expect("it does not end").unwrap();
    assert!(status.success(), "{status}");
    let stopping = running.cluster.stop(Role::Scheduler, scheduler);
    stopping.await.unwrap();
}
