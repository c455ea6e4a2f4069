use paceline_plan::Change;
use paceline_store::Members;
use tokio::sync::mpsc;

use super::*;
use crate::testing::{beacon, shared, shared_with, store};

#[tokio::test]
async fn who_is_reached_by_no_executor_plans_with_the_catalog_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (
        shared(directory.path()).await,
        shared(directory.path()).await,
    );
    for scheduler in [&one, &other] {
        scheduler.membership.beat(Instant::now()).await.unwrap();
    }
    one.membership.look().await.unwrap();
    let before = one.catalog().await.unwrap().version();
    let me = other.driver.me();
    one.membership.watched_by(&me, Instant::now());
    one.membership.heard(&me, Instant::now());
    other.catalog.change(schema("s"), &me, None).await.unwrap();
    assert!(!one.membership.may_be_missed(Instant::now()));
    assert_eq!(one.catalog().await.unwrap().version(), before.next());
    for scheduler in [one, other] {
        scheduler.stop.cancel();
    }
}

fn schema(name: &str) -> Change {
    Change::CreateSchema {
        name: name.to_string(),
        if_not_exists: false,
    }
}

/// An executor attaches, which does nothing.
fn attach(shared: &Shared) -> mpsc::Receiver<cluster::FromScheduler> {
    let (outgoing, told) = mpsc::channel(100);
    let hello = cluster::Hello {
        executor: "x".to_string(),
        slots: 1,
        ..cluster::Hello::default()
    };
    let driver = &shared.driver;
    let link = driver.attached(&driver.me(), hello, vec![], outgoing);
    assert!(link.is_some());
    told
}

/// As if the network had fallen apart: both go on, and each has sealed the journal of the other.
#[tokio::test]
async fn who_is_passed_over_by_others_plans_with_the_catalog_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let seldom = |options: &mut SchedulerOptions| options.beat = Duration::from_secs(3600);
    let one = shared_with(directory.path(), seldom).await;
    let other = shared_with(directory.path(), seldom).await;
    let (me, peer) = (one.driver.me(), other.driver.me());
    let _streams = [attach(&one), attach(&other)];
    for scheduler in [&one, &other, &one] {
        scheduler.membership.beat(Instant::now()).await.unwrap();
    }
    one.membership.gone_for_good(&peer);
    other.membership.gone_for_good(&me);
    assert!(!one.is_unreached() && !one.membership.may_be_missed(Instant::now()));

    let change = async |name| {
        let changed = other.catalog.change(schema(name), &peer, None).await;
        changed.unwrap()
    };
    let first = change("a").await;
    other.peers.tell_of_catalog(&other, first).await;
    assert_eq!(one.catalog().await.unwrap().version(), first);

    // They reach each other again: what it has missed so far is read without a statement.
    let second = change("b").await;
    one.membership.watched_by(&peer, Instant::now());
    one.heard(&peer);
    let read = async {
        while one.catalog.version() < second {
            tokio::task::yield_now().await;
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(60), read);
    read.await.unwrap();
    // From then on it would be told, so it asks for nothing.
    change("c").await;
    assert_eq!(one.catalog().await.unwrap().version(), second);
    for scheduler in [&one, &other] {
        scheduler.stop.cancel();
    }
}

/// The change is told to those who are attached, which it is not yet.
#[tokio::test]
async fn who_attaches_while_members_change_is_told_of_all() {
    let directory = tempfile::tempdir().unwrap();
    let shared = shared(directory.path()).await;
    shared.tell_members();
    let peer = beacon(SchedulerId::new("peer"), 1);
    let members = Members::new(store(directory.path()));
    members.beat(&peer).await.unwrap();
    shared.membership.look().await.unwrap();
    shared.tell_members();

    let mut told = attach(&shared);
    shared.tell_members_to(&ExecutorId::new("x"));
    shared.tell_members();
    let all = async {
        loop {
            if let Some(Told::Members(members)) = told.recv().await.unwrap().message {
                return members;
            }
        }
    };
    let all = tokio::time::timeout(Duration::from_secs(60), all).await;
    assert_eq!(all.unwrap().schedulers.len(), 2);
    shared.stop.cancel();
}

async fn fails() {
    panic!("as the test has it");
}

#[tokio::test]
async fn work_that_panics_is_counted_and_ends_alone() {
    let directory = tempfile::tempdir().unwrap();
    let shared = shared(directory.path()).await;
    shared.spawn(fails());
    shared.spawn_until_stopped(std::future::pending());
    shared.stop.cancel();
    shared.tasks.close();
    shared.tasks.wait().await;
    let counted = shared.driver.metrics.violations.of(Invariant::NoPanic);
    assert_eq!(counted, 1);
}

#[tokio::test]
async fn a_scheduler_stops_when_work_that_it_cannot_do_without_panics() {
    let directory = tempfile::tempdir().unwrap();
    let shared = shared(directory.path()).await;
    shared.spawn_vital(std::future::pending());
    shared.spawn_vital(fails());
    let stopped = tokio::time::timeout(Duration::from_secs(60), shared.stop.cancelled());
    stopped.await.unwrap();
    shared.tasks.close();
    shared.tasks.wait().await;
    let counted = shared.driver.metrics.violations.of(Invariant::NoPanic);
    assert_eq!(counted, 1);
}
