//! What a scheduler has under way that leaves, and nobody reads there: a query that runs by itself, and a
//! write that is about to be committed.

use paceline::client::{QueryChoice, SubmitRequest};
use paceline_model::{QueryId, QueryState};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::answers::agrees;
use crate::api::{ARROW, read};
use crate::held::{Held, creates_in_doubt, held_up};
use crate::rolling::{REGIONS, WRITE};
use crate::stored::{entries_of, hold_commit};
use crate::support::{Running, until};
use crate::together::is_written;

/// A join that has hardly begun when its owner leaves, because others were there before it.
const LONG: &str = "select count(*) as n, sum(a.l_quantity + b.l_quantity) as q \
     from lineitem a join lineitem b on a.l_suppkey = b.l_suppkey \
     where a.l_orderkey % 12 = 0 and a.l_orderkey % 7 <> b.l_orderkey % 5";

/// A query that runs by itself.
pub(crate) struct Unattended {
    pub(crate) query: QueryId,
}

impl Unattended {
    /// It runs, or waits for slots, at a scheduler that is about to leave.
    pub(crate) async fn submit(running: &Running, leaving: usize) -> Unattended {
        let http = running.http(leaving);
        let request = SubmitRequest {
            sql: LONG.to_string(),
            ..SubmitRequest::default()
        };
        let accepted = http.submit(&request, None).await.unwrap();
        let owner = http.status().await.unwrap().scheduler;
        assert_eq!(accepted.owner, owner, "{accepted:?}");
        Unattended {
            query: accepted.query_id,
        }
    }

    /// Another scheduler brings it to its end, which nobody takes for a death.
    pub(crate) async fn ends_at(&self, running: &Running, scheduler: usize) {
        let http = running.http(scheduler);
        let report = until("the submitted query ends", || async {
            let report = http.query(self.query).await.unwrap();
            report.state.is_final().then_some(report)
        })
        .await;
        assert_eq!(report.state, QueryState::Finished, "{report:?}");
        assert_eq!(report.epoch.0, 1, "it was handed over: {report:?}");
        let rows = http.results(self.query, None, ARROW).await.unwrap();
        agrees(LONG, &read(rows).await).await.unwrap();
    }
}

/// A write whose client waits for it over HTTP.
pub(crate) struct Written {
    query: QueryId,
    answer: JoinHandle<Result<(StatusCode, String), reqwest::Error>>,
    commit: Option<Held>,
}

impl Written {
    /// Sends one, and has it wait at its commit. So do the commits of all others, until it is handed over.
    pub(crate) async fn at_its_commit(running: &Running, leaving: usize) -> Written {
        let before = creates_in_doubt(running, leaving).await;
        let commit = hold_commit(running);
        // What follows the statement only tells it from others.
        let sql = format!("{WRITE} --while {leaving} leaves");
        let key = format!("written while {leaving} leaves");
        let answer = tokio::spawn(running.post_named(leaving, &key, sql.clone()));
        let http = running.http(leaving);
        let choice = QueryChoice {
            state: Some("queued,running".to_string()),
            limit: Some(1000),
            ..QueryChoice::default()
        };
        let query = until("it is accepted", || async {
            let list = http.queries(&choice).await.unwrap();
            let mut mine = list.queries.iter().filter(|report| report.sql == sql);
            mine.next().map(|report| report.query_id)
        })
        .await;
        is_written(running, leaving, query).await;
        held_up(running, leaving, before).await;
        Written {
            query,
            answer,
            commit: Some(commit),
        }
    }

    pub(crate) fn is_not_committed(&self, running: &Running) {
        assert_eq!(entries_of(running, self.query), Vec::<Value>::new());
        assert!(!self.answer.is_finished(), "nothing held it up");
    }

    /// Waits until another scheduler drives it, and lets that one commit.
    pub(crate) async fn see_it_handed_over(mut self, running: &Running, other: usize) -> Written {
        let http = running.http(other);
        until("it is handed over", || async {
            let report = http.query(self.query).await.unwrap();
            assert!(!report.state.is_final(), "nothing held it up: {report:?}");
            (report.epoch.0 == 1).then_some(())
        })
        .await;
        self.is_not_committed(running);
        if let Some(commit) = self.commit.take() {
            commit.let_go();
        }
        self
    }

    /// Its client, who waits at the scheduler that leaves, is told so there.
    pub(crate) async fn took_effect_once(self, running: &Running) {
        let (status, body) = self.answer.await.unwrap().unwrap();
        assert!(status.is_success(), "{status}: {body}");
        let rows: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(rows[0]["count"], REGIONS, "{body}");
        let entries = entries_of(running, self.query);
        assert_eq!(entries.len(), 1, "{entries:?}");
    }
}
