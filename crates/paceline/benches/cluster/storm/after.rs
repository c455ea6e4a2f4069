//! What is left when everything is over.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use paceline_model::{Invariant, QueryId, SchedulerId};
use paceline_store::{Members, Results};
use paceline_testkit::Node;

use super::forecast::COUNT;
use super::tables;
use super::world::{World, files_below, names, text};

/// Within which what nobody needs any more goes: beyond the longest time that anything is kept, and the
/// time between two looks for it.
const LIMIT: Duration = Duration::from_secs(90);

const LOOK: Duration = Duration::from_millis(200);

/// The seal of a drained journal stays, and a second one where it was put in the place of a segment
/// that had just gone.
pub(crate) const SEALS: usize = 2;

/// What an executor counts while it holds something of a query.
pub(crate) const HELD: [&str; 5] = [
    "paceline_executor_slots_used",
    "paceline_executor_slots_queued",
    "paceline_executor_memory_used_bytes",
    "paceline_exchange_outputs",
    "paceline_exchange_disk_bytes",
];

/// Waits until nothing is left but what stays, ends all processes, and looks at what they leave.
pub(crate) async fn nothing_is_left(world: &mut World) -> Result<(), String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut left = on_executors(world.cluster.directory());
        left.extend(tables::strays(world)?);
        left.extend(in_memory(world).await);
        left.extend(in_state(world).await?);
        if left.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            return Err(format!("left after {LIMIT:?}: {left:#?}"));
        }
        tokio::time::sleep(LOOK).await;
    }
    claims_are_chains(world)?;
    time_takes_the_rest(world).await?;
    no_invariant_was_broken(world).await?;
    world.cluster.shut_down().await.map_err(text)?;
    let open = world.stored.journals.undrained().await.map_err(text)?;
    if !open.is_empty() {
        return Err(format!(
            "all schedulers ended in order, and left the journals of {open:?}"
        ));
    }
    let members = Members::new(world.stored.store.clone());
    let beacons = members.list().await.map_err(text)?.beacons;
    if !beacons.is_empty() {
        return Err(format!(
            "all schedulers ended in order, and left beacons: {beacons:?}"
        ));
    }
    no_panic(&world.cluster.logs())
}

/// Waits until a sweep has taken away what means nothing any more, which only time does otherwise. What is
/// written once more, or held by a journal until its next snapshot, goes with a later one.
async fn time_takes_the_rest(world: &World) -> Result<(), String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let live = live(world).await;
        let left = world.stored.left_by_a_sweep(&live, &[]).await;
        // Segments may go while they are read.
        let left = left.unwrap_or_else(|problem| vec![problem]);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("left by a sweep after {LIMIT:?}: {left:#?}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The schedulers that answer.
async fn live(world: &World) -> BTreeSet<SchedulerId> {
    let mut live = BTreeSet::new();
    for scheduler in 0..COUNT {
        let status = world.status(scheduler).await;
        live.extend(status.map(|status| status.scheduler));
    }
    live
}

/// What the schedulers that are there have counted since their starts.
async fn no_invariant_was_broken(world: &World) -> Result<(), String> {
    for node in world.cluster.schedulers() {
        // One that was killed last has nothing to say.
        if !node.is_up() {
            continue;
        }
        let said = metrics_of(node).await;
        let said = said.ok_or_else(|| format!("{} does not say its metrics", node.name()))?;
        for invariant in Invariant::ALL {
            let line =
                format!("paceline_invariant_violations_total{{invariant=\"{invariant}\"}} 0");
            if !said.lines().any(|said| said == line) {
                return Err(format!("{} saw '{invariant}' broken", node.name()));
            }
        }
    }
    Ok(())
}

/// What executors hold on their disks, but for the locks that say whose a directory is.
fn on_executors(directory: &Path) -> Vec<String> {
    let own = names(directory).into_iter();
    let own = own.filter(|name| name.starts_with("executor-"));
    let files = own.flat_map(|name| files_below(&directory.join(name)));
    files
        .filter(|file| file.file_name().is_some_and(|name| name != "lock"))
        .map(|file| file.display().to_string())
        .collect()
}

/// What executors hold in memory or anywhere, by their own word.
async fn in_memory(world: &World) -> Vec<String> {
    let mut left = Vec::new();
    for node in world.cluster.executors() {
        let said = metrics_of(node).await;
        for name in HELD {
            let held = said.as_deref().and_then(|said| gauge(said, name));
            if held != Some(0.0) {
                left.push(format!("{} says of {name}: {held:?}", node.name()));
            }
        }
    }
    left
}

async fn metrics_of(node: &Node) -> Option<String> {
    let address = format!("http://{}/metrics", node.past_doors().metrics);
    reqwest::get(address).await.ok()?.text().await.ok()
}

/// The value of a series without labels.
fn gauge(said: &str, name: &str) -> Option<f64> {
    let mut lines = said.lines().filter_map(|line| line.strip_prefix(name));
    lines.find_map(|value| value.strip_prefix(' ')?.parse().ok())
}

/// Claims stay for longer than any process may sleep; those of a query follow each other.
fn claims_are_chains(world: &World) -> Result<(), String> {
    for name in names(&world.state().join("owners")) {
        let query: QueryId = name.parse().map_err(text)?;
        let epochs = world.claims(query);
        if !epochs.iter().copied().eq(1..=epochs.len() as u64) {
            return Err(format!("the claims on {name} are {epochs:?}"));
        }
    }
    Ok(())
}

async fn in_state(world: &World) -> Result<Vec<String>, String> {
    let (stored, live) = (&world.stored, live(world).await);
    let mut left = Vec::new();
    for journal in stored.journals.schedulers().await.map_err(text)? {
        let held = stored.journals.replay(&journal).await.map_err(text)?;
        let queries = stored.owned(&journal, &held).await?;
        let segments = stored.segments(&journal).await?;
        if live.contains(&journal) && queries > 0 {
            left.push(format!("{queries} queries in the journal of {journal}"));
        } else if !live.contains(&journal) && (!held.drained || segments > SEALS) {
            let drained = if held.drained {
                "drained"
            } else {
                "not drained"
            };
            left.push(format!(
                "{segments} segments of {journal}, which is gone and {drained}"
            ));
        }
    }
    let members = Members::new(stored.store.clone());
    let beacons = members.list().await.map_err(text)?.beacons;
    let beacons: BTreeSet<SchedulerId> = beacons.into_iter().map(|b| b.scheduler).collect();
    if beacons != live {
        left.push(format!("beacons of {beacons:?}, and {live:?} are alive"));
    }
    let results = Results::new(stored.store.clone());
    let results = results.queries().await.map_err(text)?;
    left.extend(results.iter().map(|query| format!("results of {query}")));
    Ok(left)
}

fn no_panic(logs: &Path) -> Result<(), String> {
    for name in names(logs) {
        let log = std::fs::read(logs.join(&name)).map_err(text)?;
        let log = String::from_utf8_lossy(&log);
        if let Some(line) = log.lines().find(|line| line.contains("panicked at")) {
            return Err(format!("{name}: {line}"));
        }
    }
    Ok(())
}
