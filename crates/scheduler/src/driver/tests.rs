use paceline_core::Options;
use paceline_model::{
    Attempt, ErrorClass, ExecutorId, OutputId, QueryError, QueryState, StageId, TaskId,
};
use paceline_plan::WriteInto;
use paceline_proto::cluster;
use paceline_proto::cluster::from_scheduler::Message;
use paceline_proto::cluster::task_state::State as Reported;
use prometheus::Registry;
use tokio::sync::mpsc;

use super::*;
pub(super) use crate::testing::planned;
use crate::testing::{journal, journals, record};
use crate::wire;

pub(super) fn driver(directory: &std::path::Path) -> Driver {
    driver_with(directory, Options::default(), &Registry::new())
}

pub(super) fn driver_with(
    directory: &std::path::Path,
    options: Options,
    registry: &Registry,
) -> Driver {
    let identity = Identity::draw("s");
    let journals = journals(directory);
    // Nobody writes: what would be written stays in the scribe.
    let (scribe, _) = Scribe::new(journal(&journals, &identity.id()));
    let (newsroom, _) = Newsroom::new();
    Driver::new(Parts {
        identity,
        core: Core::new(options),
        scribe,
        newsroom,
        keep: Keep {
            consumed: Duration::ZERO,
            unread: Duration::ZERO,
            abandoned: Duration::ZERO,
        },
        inline_limit: ByteSize(0),
        linger: Duration::ZERO,
        metrics: SchedulerMetrics::register(registry).unwrap(),
    })
}

pub(super) type Stream = mpsc::Receiver<cluster::FromScheduler>;

/// Attaches the executor `x`, which has one slot.
pub(super) fn attach(driver: &Driver) -> Stream {
    let (outgoing, told) = mpsc::channel(100);
    let hello = cluster::Hello {
        executor: "x".to_string(),
        slots: 1,
        ..cluster::Hello::default()
    };
    let link = driver.attached(&driver.me(), hello, vec![], outgoing);
    assert!(link.is_some());
    told
}

/// The next launch that the executor is told of.
pub(super) async fn launched(driver: &Driver, told: &mut Stream) -> cluster::Launch {
    let launch = async {
        loop {
            let told = told.recv().await.expect("the stream goes on");
            if let Some(Message::Launch(launch)) = told.message {
                return launch;
            }
        }
    };
    let launch = tokio::time::timeout(Duration::from_secs(10), launch);
    // Cancel safety: time is kept by whoever waits for the next launch.
    tokio::select! {
        launch = launch => launch.expect("a launch in time"),
        () = driver.keep_time() => panic!("time has no end"),
    }
}

fn report(driver: &Driver, query: QueryId, task: &cluster::TaskLaunch, state: Reported) {
    let id = OutputId {
        query,
        stage: StageId(0),
        task: TaskId(task.task),
        attempt: Attempt(task.attempt),
    };
    let executor = ExecutorId::new("x");
    driver.reported(&executor, id, Epoch(0), wire::report(state));
}

fn is_moved(driver: &Driver, query: QueryId) -> bool {
    let moved = driver.with_record(&query, |record| record.is_moved());
    moved.expect("it is on the shelf")
}

/// A client may ask for any; nobody will see its end.
#[tokio::test]
async fn a_limit_that_no_clock_reaches_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        no_executor_grace: Duration::MAX,
        ..Options::default()
    };
    let driver = driver_with(directory.path(), options, &Registry::new());
    let planned = planned(1);
    let (query, plan) = (planned.query, planned.plan.unwrap());
    driver.apply(Event::Submit {
        query,
        graph: plan.graph,
        epoch: Epoch(0),
        deadline: Some(driver.now_after(Duration::MAX)),
        promised: false,
    });
    assert_eq!(*driver.wake.borrow(), None);
    let (running, queued) = driver.running_and_queued();
    assert_eq!(running + queued, 1);
}

#[tokio::test]
async fn what_is_submitted_after_all_was_given_away_is_for_others() {
    let directory = tempfile::tempdir().unwrap();
    let driver = driver(directory.path());
    let before = record();
    let query = before.query;
    driver.submit(before, None);
    assert!(!is_moved(&driver, query));
    driver.close();
    assert!(is_moved(&driver, query));
    let late = record();
    let query = late.query;
    driver.submit(late, None);
    assert!(is_moved(&driver, query), "nobody here would run it");
}

#[tokio::test]
async fn what_was_made_durable_under_a_former_id_is_not_started() {
    let directory = tempfile::tempdir().unwrap();
    let driver = driver(directory.path());
    let former = driver.me();
    driver.fence(|identity| {
        identity.renew();
    });
    let given = record();
    let query = given.query;
    let back = driver.submit_as(&former, given, None);
    assert_eq!(back.map_err(|record| record.query), Err(query));
    assert!(driver.with_record(&query, |_| ()).is_none());
    assert!(driver.submit_as(&driver.me(), record(), None).is_ok());
}

#[tokio::test]
async fn who_runs_by_itself_is_told_of_by_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let driver = driver(directory.path());
    let mut submitted = record().answered(vec![], Instant::now());
    submitted.kept = Some(Duration::from_secs(60));
    let read = record().answered(vec![], Instant::now());
    let (submitted_id, read_id) = (submitted.query, read.query);
    driver.submit(submitted, None);
    driver.submit(read, None);
    driver.fence(|identity| {
        identity.renew();
    });
    assert!(is_moved(&driver, submitted_id));
    assert!(driver.status(&submitted_id).is_none());
    assert!(!is_moved(&driver, read_id), "its rows are here");
    // Nothing of it is kept here for good.
    driver.tidy();
    assert!(driver.with_record(&submitted_id, |_| ()).is_none());
}

/// Or this scheduler would go on to tell of an owner that the query has no more.
#[tokio::test]
async fn what_was_read_here_after_all_was_given_away_is_told_of_by_its_next_owner() {
    let directory = tempfile::tempdir().unwrap();
    let driver = driver(directory.path());
    let read = || record().answered(vec![], Instant::now());
    let (over, left) = (read(), read());
    let (over_id, left_id) = (over.query, left.query);
    driver.submit(over, None);
    driver.submit(left, None);
    driver.consumed(over_id);
    driver.fence(|identity| {
        identity.renew();
    });
    driver.consumed(left_id);
    driver.tidy();
    let told = driver.status(&over_id).map(|status| status.state);
    assert_eq!(told, Some(QueryState::Finished));
    assert!(driver.status(&left_id).is_none());
}

#[tokio::test]
async fn nobody_makes_a_part_again_of_what_is_not_driven_here() {
    let directory = tempfile::tempdir().unwrap();
    let driver = driver(directory.path());
    let lost = LostOutput {
        stage: StageId(0),
        task: TaskId(0),
        attempt: Attempt(0),
        executor: ExecutorId::new("x"),
        unreachable: true,
    };
    assert!(!driver.result_lost(record().query, lost));
}

#[tokio::test]
async fn files_of_a_failed_copy_go_once_its_outcome_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let driver = driver(directory.path());
    let into = WriteInto::Files {
        location: "file:///x/".to_string(),
    };
    let mut copy = record();
    copy.write = Some(into.clone());
    copy.kept = Some(Duration::from_secs(60));
    let query = copy.query;
    driver.submit(copy, None);
    assert_eq!(driver.leaves_behind(query), None, "it may yet succeed");
    let failed = QueryError::new(ErrorClass::User, "no");
    driver.with_record(&query, |record| {
        record.settle_failed(QueryState::Failed, failed, Instant::now());
    });
    assert_eq!(
        driver.leaves_behind(query),
        None,
        "another owner may yet finish it"
    );
    driver.with_record(&query, |record| record.is_concluded = true);
    assert_eq!(driver.leaves_behind(query), Some(into.clone()));
    // An attempt may say that it has stopped after the record has gone.
    driver.let_go(query);
    assert_eq!(driver.leaves_behind(query), Some(into));
}

#[tokio::test]
async fn the_plan_of_a_stage_is_sent_to_an_executor_once() {
    let directory = tempfile::tempdir().unwrap();
    let driver = driver(directory.path());
    let mut told = attach(&driver);
    let planned = planned(3);
    let query = planned.query;
    driver.submit(planned, None);
    // One runs and one waits for the slot; the third has to wait for its launch.
    let first = launched(&driver, &mut told).await;
    assert_eq!(first.tasks.len(), 2);
    assert_eq!(first.plan.as_deref(), Some(&b"the plan"[..]));
    let finished = Reported::Finished(cluster::Finished::default());
    report(&driver, query, &first.tasks[0], finished);
    let second = launched(&driver, &mut told).await;
    assert_eq!(second.plan, None, "it has the plan");
    let lacking = Reported::Failed(cluster::Failed {
        class: ErrorClass::Retryable.as_str().to_string(),
        message: "plan not here".to_string(),
        lost: vec![],
    });
    report(&driver, query, &second.tasks[0], lacking);
    let third = launched(&driver, &mut told).await;
    assert_eq!(third.tasks[0].task, second.tasks[0].task);
    assert_eq!(third.plan, first.plan, "it said that it has none");
}

/// Or a scheduler that nobody takes over from would leave before its result is stored.
#[tokio::test]
async fn what_ended_is_seen_through_until_it_has_its_outcome() {
    let directory = tempfile::tempdir().unwrap();
    let driver = driver(directory.path());
    let mut kept = record().answered(vec![], Instant::now());
    kept.kept = Some(Duration::from_secs(60));
    let query = kept.query;
    driver.submit(record().answered(vec![], Instant::now()), None);
    assert!(!driver.busy(), "it is over");
    driver.submit(kept, None);
    assert!(driver.busy());
    driver.with_record(&query, |record| record.is_concluded = true);
    assert!(!driver.busy());
}
