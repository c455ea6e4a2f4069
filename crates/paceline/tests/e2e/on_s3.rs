//! A takeover where the state lies in an object store that is reached over HTTP.

use paceline_testkit::{ClusterPlan, Role};

use crate::answers::agrees;
use crate::left::{is_journaled, kept_for, nothing_is_left};
use crate::ministack::MiniStack;
use crate::support::{Running, SLOW, attempts, flags, joining, labelled, of_executors};
use crate::takeover::{ATTEMPTS, ask, begin};

/// Has schedulers keep their state in the bucket `paceline` of a server.
pub(crate) fn keep_state(plan: &mut ClusterPlan, endpoint: &str) {
    let options = format!(
        "endpoint={endpoint},region=us-east-1,access_key_id=test,secret_access_key=hush,\
         allow_http=true"
    );
    plan.state = Some("s3://paceline/state".to_string());
    let options = flags(&["--state-options", &options]);
    plan.scheduler_flags.extend(options);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_killed_midway_loses_nothing_on_s3() {
    let Some(s3) = MiniStack::start().await else {
        return;
    };
    s3.make_bucket("paceline").await;
    let mut running = Running::start_with(|plan| {
        keep_state(plan, &s3.endpoint());
        kept_for(plan, "2s");
    })
    .await;
    running.create_tpch().await;
    let begun_before = of_executors(&running, ATTEMPTS).await;
    let (started, query) = begin(&running, 0, joining).await;
    is_journaled(&running, 0, query).await;
    running.cluster.kill(Role::Scheduler, 0).await.unwrap();
    let answer = ask(&running, 1, &started).await.unwrap();
    agrees(SLOW, &answer).await.unwrap();
    let report = running.http(1).query(query).await.unwrap();
    assert_eq!(report.epoch.0, 1, "{report:?}");
    let begun = of_executors(&running, ATTEMPTS).await - begun_before;
    let (_, tasks) = attempts(&report);
    assert_eq!(begun, f64::from(tasks), "a task was begun twice");
    for name in [
        "paceline_journal_seals_total",
        "paceline_journal_claims_total",
    ] {
        assert_eq!(labelled(&running, 1, name, "won").await, 1.0, "{name}");
    }
    nothing_is_left(&running).await;
}
