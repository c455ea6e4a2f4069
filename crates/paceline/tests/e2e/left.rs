//! What is left once queries have ended: nothing but what is to stay, and of that nothing which time would
//! not take away. And what a journal tells of those that have not.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use paceline_model::{QueryId, SchedulerId};
use paceline_store::{Members, Results, StateLocation};
use paceline_testkit::ClusterPlan;

use crate::metrics::Metrics;
use crate::storm::after::{HELD, SEALS};
use crate::storm::state::State;
use crate::support::{Running, flags, until};

/// Within which what nobody needs any more goes: beyond the longest time that anything is kept.
const LIMIT: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(100);

/// Where the schedulers of a plan keep their state.
pub(crate) fn location(plan: &ClusterPlan) -> StateLocation {
    let beside = || plan.directory.join("state").display().to_string();
    let state = plan.state.clone().unwrap_or_else(beside);
    let mut flags = plan.scheduler_flags.iter();
    let options = flags.find(|flag| *flag == "--state-options");
    let options = options.and_then(|_| flags.next()).into_iter();
    let pairs = options.flat_map(|options| options.split(','));
    let pairs = pairs.filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(name, value)| (name.to_string(), value.to_string()));
    StateLocation::parse(&state, &pairs.collect(), []).unwrap()
}

/// Has results go so soon after they were read, and what nobody read or owns not long after that.
pub(crate) fn kept_for(plan: &mut ClusterPlan, ttl: &str) {
    kept_and_waited_for(plan, ttl, "10s");
}

/// The same, where queries that nobody waits for are given up only after `unread`.
pub(crate) fn kept_and_waited_for(plan: &mut ClusterPlan, ttl: &str, unread: &str) {
    let short = [
        "--scheduler-result-ttl",
        ttl,
        "--scheduler-unread-ttl",
        unread,
    ];
    plan.scheduler_flags.extend(flags(&short));
    let orphans = ["--executor-orphan-ttl", "15s"];
    plan.executor_flags.extend(flags(&orphans));
}

/// Waits until nothing is left of queries that have ended, in any process or in the state. It is the last
/// thing that a test does: it gives its turn away.
pub(crate) async fn nothing_is_left(running: &Running) {
    nothing_is_left_but(running, &[]).await;
}

/// The same, but for the results of these queries, which are kept.
pub(crate) async fn nothing_is_left_but(running: &Running, results: &[QueryId]) {
    running.turn.end();
    let state = state_of(running);
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut left = on_executors(running).await;
        let live = live(running, &mut left).await;
        match in_state(&state, &live, results).await {
            Ok(more) => left.extend(more),
            // Segments may go while they are read.
            Err(problem) => left.push(problem),
        }
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "left after {LIMIT:?}: {left:#?}");
        tokio::time::sleep(LOOK).await;
    }
    time_takes_the_rest(running, &state, results).await;
}

/// Waits until a sweep has taken away all that only time takes away. What a live journal holds of queries
/// that were others' goes with its next snapshot.
async fn time_takes_the_rest(running: &Running, state: &State, results: &[QueryId]) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut left = Vec::new();
        let live = live(running, &mut left).await;
        match state.left_by_a_sweep(&live, results).await {
            Ok(more) => left.extend(more),
            Err(problem) => left.push(problem),
        }
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left by a sweep after {LIMIT:?}: {left:#?}"
        );
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until the journal of a scheduler tells how every stage was divided of which a query of its has
/// tasks: without that, a successor cannot tell what executors hold.
pub(crate) async fn is_journaled(running: &Running, scheduler: usize, query: QueryId) {
    let state = state_of(running);
    let http = running.http(scheduler);
    let journal = http.status().await.unwrap().scheduler;
    until("its stages are in the journal", || async {
        let report = http.query(query).await.unwrap();
        let begun = report.stages.iter().filter(|stage| stage.tasks > 0);
        let begun: BTreeSet<u32> = begun.map(|stage| stage.stage.0).collect();
        let formed = formed(&state, &journal, query).await;
        (!begun.is_empty() && begun.is_subset(&formed)).then_some(())
    })
    .await;
}

/// The files and the memory that executors hold for queries, and their tasks.
async fn on_executors(running: &Running) -> Vec<String> {
    let mut left = Vec::new();
    let mut down = Vec::new();
    for (index, node) in running.cluster.executors().iter().enumerate() {
        if !node.is_up() {
            let own = format!("executor-{}", index + 1);
            down.push(running.directory.path().join(own));
            continue;
        }
        let metrics = Metrics::of(&node.past_doors().metrics).await;
        for name in HELD {
            let value = metrics.sum(name);
            if value > 0.0 {
                left.push(format!("{name} of {} is {value}", node.name()));
            }
        }
    }
    // What a dead executor left goes when another one starts in its place.
    let theirs = |path: &PathBuf| !down.iter().any(|own| path.starts_with(own));
    let files = running.executor_files().into_iter().filter(theirs);
    left.extend(files.map(|path| path.display().to_string()));
    left
}

/// The schedulers that are alive; and what they still do.
async fn live(running: &Running, left: &mut Vec<String>) -> BTreeSet<SchedulerId> {
    let mut live = BTreeSet::new();
    for (index, node) in running.cluster.schedulers().iter().enumerate() {
        if !node.is_up() {
            continue;
        }
        let status = running.http(index).status().await.unwrap();
        let queries = status.queries_running + status.queries_queued;
        if queries > 0 {
            left.push(format!("{queries} queries at {}", node.name()));
        }
        let broken = "paceline_invariant_violations_total";
        let broken = Running::metric(&node.past_doors().metrics, broken).await;
        assert_eq!(broken, 0.0, "{} saw an invariant broken", node.name());
        live.insert(status.scheduler);
    }
    live
}

fn state_of(running: &Running) -> State {
    State::open(&running.state).unwrap()
}

/// The stages of a query of which a journal tells how they were divided.
async fn formed(state: &State, journal: &SchedulerId, query: QueryId) -> BTreeSet<u32> {
    let replayed = state.journals.replay(journal).await.unwrap();
    let held = replayed.book.held(query);
    let formed = held.map(|held| held.known.formed.iter().map(|formed| formed.stage));
    formed.into_iter().flatten().collect()
}

async fn in_state(
    state: &State,
    live: &BTreeSet<SchedulerId>,
    kept: &[QueryId],
) -> Result<Vec<String>, String> {
    let mut left = in_journals(state, live).await?;
    let members = Members::new(state.store.clone());
    let beacons = members.list().await.map_err(text)?.beacons;
    let beacons = beacons.into_iter().map(|beacon| beacon.scheduler);
    let beacons: BTreeSet<SchedulerId> = beacons.collect();
    if beacons != *live {
        left.push(format!("beacons of {beacons:?}, and {live:?} are alive"));
    }
    let results = Results::new(state.store.clone()).queries().await;
    let results = results.map_err(text)?;
    let unwanted = results.iter().filter(|query| !kept.contains(query));
    left.extend(unwanted.map(|query| format!("a result of {query}")));
    Ok(left)
}

async fn in_journals(state: &State, live: &BTreeSet<SchedulerId>) -> Result<Vec<String>, String> {
    let mut left = Vec::new();
    for journal in state.journals.schedulers().await.map_err(text)? {
        let replayed = state.journals.replay(&journal).await.map_err(text)?;
        if live.contains(&journal) {
            let queries = state.owned(&journal, &replayed).await?;
            if queries > 0 {
                left.push(format!("{queries} queries in the journal of {journal}"));
            }
            continue;
        }
        let segments = state.segments(&journal).await?;
        if !replayed.drained || segments > SEALS {
            left.push(format!("{segments} segments of {journal}, which is gone"));
        }
    }
    Ok(left)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
