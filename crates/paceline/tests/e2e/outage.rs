//! The object store is away for many beats, refusing connections or not answering: what runs finishes,
//! nobody takes over, and nothing that was acknowledged is lost.

use std::time::{Duration, Instant};

use paceline::client::{Answer, ClientError, Http, SubmitRequest};
use paceline_model::{QueryId, QueryState};
use paceline_testkit::{FaultProxy, Traffic};
use tokio::task::JoinHandle;

use crate::answers::agrees;
use crate::api::{ARROW, read};
use crate::left::{kept_for, nothing_is_left_but};
use crate::ministack::MiniStack;
use crate::on_s3::keep_state;
use crate::support::{self, Running, SLOW, flags, labelled, metric, until};

/// Makes the outage longer: for how many seconds it lasts at least.
const SECONDS: &str = "PACELINE_OUTAGE_SECONDS";

/// So many tries at one scheduler's beacon fail before the store comes back. They are at most 0.4 s
/// apart, so they are many times `takeover_after`, which is long enough here for a busy machine.
const FAILED_BEATS: f64 = 30.0;

/// So many requests of one scheduler's beacon get no answer before the store answers again. They are given
/// up after 2 s each, or when 5 s of a beat are over: about 12 s, which is five times `takeover_after`.
const UNANSWERED_BEATS: f64 = 7.0;

const SCHEDULERS: [usize; 2] = [0, 1];

async fn start(store: &FaultProxy) -> Running {
    let running = Running::start_with(|plan| {
        keep_state(plan, &format!("http://{}", store.address()));
        kept_for(plan, "2s");
        plan.scheduler_flags.extend(flags(&[
            "--scheduler-beat",
            "200ms",
            "--scheduler-takeover-after",
            "2400ms",
        ]));
    })
    .await;
    running.create_tpch().await;
    running
}

/// A synchronous query at that scheduler, which has come midway.
async fn midway(running: &Running, scheduler: usize) -> JoinHandle<Result<Answer, String>> {
    let mut flight = running.flight(scheduler).await;
    let started = flight.start(SLOW).await.unwrap();
    let query = started.query.unwrap();
    let answer = tokio::spawn(async move {
        let answer = flight.finish(started).await;
        answer.map_err(|error| error.to_string())
    });
    comes_midway(&running.http(scheduler), query).await;
    answer
}

async fn comes_midway(http: &Http, query: QueryId) {
    until("it runs", || async {
        let report = http.query(query).await.unwrap();
        assert!(!report.state.is_final(), "it ended too soon: {report:?}");
        support::midway(&report).then_some(())
    })
    .await;
}

async fn submit(http: &Http, key: &str) -> Result<QueryId, ClientError> {
    let request = SubmitRequest {
        sql: SLOW.to_string(),
        ..SubmitRequest::default()
    };
    let accepted = http.submit(&request, Some(key)).await?;
    Ok(accepted.query_id)
}

/// Waits for a submitted query's end, and compares its result.
async fn finishes(running: &Running, scheduler: usize, query: QueryId) {
    let http = running.http(scheduler);
    let report = until("the submitted query ends", || async {
        let report = http.query(query).await.unwrap();
        report.state.is_final().then_some(report)
    })
    .await;
    assert_eq!(report.state, QueryState::Finished, "{report:?}");
    assert_eq!(report.epoch.0, 0, "it changed hands: {report:?}");
    let rows = http.results(query, None, ARROW).await.unwrap();
    agrees(SLOW, &read(rows).await).await.unwrap();
}

async fn readiness(running: &Running, scheduler: usize) -> (bool, String) {
    let http = &running.cluster.schedulers()[scheduler].announced().http;
    let answer = reqwest::get(format!("http://{http}/v1/ready"))
        .await
        .unwrap();
    (answer.status().is_success(), answer.text().await.unwrap())
}

async fn failed_beats(running: &Running, scheduler: usize) -> f64 {
    let name = "paceline_store_requests_total";
    let mut failed = 0.0;
    for outcome in ["failed", "timeout"] {
        let label = format!("operation=\"put\",outcome=\"{outcome}\"");
        failed += labelled(running, scheduler, name, &label).await;
    }
    failed
}

/// Nobody was sealed, claimed from, or fenced.
async fn nobody_took_over(running: &Running) {
    for scheduler in SCHEDULERS {
        for outcome in ["won", "lost"] {
            let name = "paceline_journal_seals_total";
            let seals = labelled(running, scheduler, name, outcome).await;
            assert_eq!(seals, 0.0, "scheduler {scheduler}: seals {outcome}");
        }
        let name = "paceline_queries_total";
        assert_eq!(labelled(running, scheduler, name, "adopted").await, 0.0);
        let fenced = metric(running, scheduler, "paceline_fenced_total").await;
        assert_eq!(fenced, 0.0, "scheduler {scheduler} was fenced");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_object_store_is_away_for_many_beats_and_nothing_is_lost() {
    let Some(s3) = MiniStack::start().await else {
        return;
    };
    s3.make_bucket("paceline").await;
    let target = s3.endpoint().replace("http://", "");
    let store = FaultProxy::start(target).await.unwrap();
    let running = start(&store).await;
    let ids = [
        running.http(0).status().await.unwrap().scheduler,
        running.http(1).status().await.unwrap().scheduler,
    ];

    let acknowledged = submit(&running.http(0), "before").await.unwrap();
    comes_midway(&running.http(0), acknowledged).await;
    let waiting = [midway(&running, 0).await, midway(&running, 1).await];
    let away = Instant::now();
    store.set(Traffic::Cut);
    // Sent before anybody has noticed: its client waits, for it must be durable first.
    let patient = tokio::spawn({
        let http = running.http(1);
        async move { submit(&http, "patient").await }
    });

    for answer in waiting {
        let answer = answer.await.unwrap().unwrap();
        agrees(SLOW, &answer).await.unwrap();
    }
    for scheduler in SCHEDULERS {
        until("readiness says no", || async {
            let (ready, reasons) = readiness(&running, scheduler).await;
            (!ready && reasons.contains("state store")).then_some(())
        })
        .await;
    }
    let refused = submit(&running.http(0), "refused").await.unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused { class, message }
            if class == "unavailable" && message.contains("s3://paceline/state")),
        "{refused:?}"
    );
    let staying_away = it_stays_away(&running, &store, away);
    running.turn.aside(staying_away).await;
    finishes(&running, 1, acknowledged).await;
    let patient = patient.await.unwrap();
    let patient = match patient {
        Ok(query) => query,
        // It was told to try again.
        Err(error) => {
            assert!(error.is_worth_another_try(), "{error:?}");
            submit(&running.http(0), "patient").await.unwrap()
        }
    };
    let again = submit(&running.http(0), "patient").await.unwrap();
    assert_eq!(again, patient, "the same name is the same query");
    finishes(&running, 0, patient).await;
    let tried_again = submit(&running.http(1), "refused").await.unwrap();
    finishes(&running, 1, tried_again).await;
    let at_the_stall = it_stalls(&running, &store).await;
    for scheduler in SCHEDULERS {
        let status = running.http(scheduler).status().await.unwrap();
        assert_eq!(status.scheduler, ids[scheduler], "it is somebody else now");
    }
    nobody_took_over(&running).await;
    let submitted = [acknowledged, patient, tried_again, at_the_stall];
    nothing_is_left_but(&running, &submitted).await;
}

/// Waits until both schedulers have tried in vain for long to show that they live, and lets the store
/// come back.
async fn it_stays_away(running: &Running, store: &FaultProxy, since: Instant) {
    let least = std::env::var(SECONDS).ok().and_then(|s| s.parse().ok());
    let least = Duration::from_secs(least.unwrap_or(0));
    loop {
        let mut missed = f64::MAX;
        for scheduler in SCHEDULERS {
            missed = missed.min(failed_beats(running, scheduler).await);
        }
        if missed >= FAILED_BEATS && since.elapsed() >= least {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(store.cut_connections() > 0, "nothing was cut");
    nobody_took_over(running).await;
    comes_back(running, store).await;
}

/// The store answers again, and both schedulers notice.
async fn comes_back(running: &Running, store: &FaultProxy) {
    store.set(Traffic::Flows);
    for scheduler in SCHEDULERS {
        until("readiness says yes", || async {
            readiness(running, scheduler).await.0.then_some(())
        })
        .await;
    }
}

/// The store takes connections and requests, and does not answer. What was given up meanwhile reaches it
/// all the same, when it does so again. Returns a query that was submitted before.
async fn it_stalls(running: &Running, store: &FaultProxy) -> QueryId {
    let acknowledged = submit(&running.http(0), "before it stalls").await.unwrap();
    comes_midway(&running.http(0), acknowledged).await;
    let waiting = [midway(running, 0).await, midway(running, 1).await];
    let mut before = Vec::new();
    for scheduler in SCHEDULERS {
        before.push(failed_beats(running, scheduler).await);
    }
    let held_back = store.held_back();
    store.set(Traffic::Stalls);
    for answer in waiting {
        let answer = answer.await.unwrap().unwrap();
        agrees(SLOW, &answer).await.unwrap();
    }
    let not_answering = it_does_not_answer(running, store, &before);
    running.turn.aside(not_answering).await;
    assert!(store.held_back() > held_back, "nothing was held back");
    finishes(running, 1, acknowledged).await;
    let again = submit(&running.http(1), "before it stalls").await.unwrap();
    assert_eq!(again, acknowledged, "the same name is the same query");
    acknowledged
}

/// Waits until enough beats of both schedulers got no answer beside those of `before`, and lets the store
/// answer again.
async fn it_does_not_answer(running: &Running, store: &FaultProxy, before: &[f64]) {
    for scheduler in SCHEDULERS {
        until("its beats go unanswered", || async {
            let failed = failed_beats(running, scheduler).await;
            (failed - before[scheduler] >= UNANSWERED_BEATS).then_some(())
        })
        .await;
        until("readiness says no", || async {
            let (ready, reasons) = readiness(running, scheduler).await;
            (!ready && reasons.contains("state store")).then_some(())
        })
        .await;
    }
    nobody_took_over(running).await;
    comes_back(running, store).await;
}
