//! What is left when everything is over.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use paceline_model::{Epoch, Invariant, QueryId, SchedulerId};
use paceline_store::{
    Claims, JournalMetrics, Journals, Limits, Members, Replayed, Results, StateLocation,
    StateStore, StoreMetrics,
};
use paceline_testkit::Node;
use prometheus::Registry;

use super::forecast::COUNT;
use super::tables;
use super::world::{World, files_below, names, text};

/// Within which what nobody needs any more goes: beyond the longest time that anything is kept, and the
/// time between two looks for it.
const LIMIT: Duration = Duration::from_secs(90);

/// The seal of a drained journal stays, and a second one where it was put in the place of a segment
/// that had just gone.
const SEALS: usize = 2;

/// Exchange outputs that an executor holds, wherever they lie.
const OUTPUTS: &str = "paceline_exchange_outputs";

/// Waits until nothing is left but what stays, ends all processes, and looks at what they leave.
pub(crate) async fn nothing_is_left(world: &mut World) -> Result<(), String> {
    let registry = Registry::new();
    let store = open(world, &registry)?;
    let metrics = JournalMetrics::register(&registry).map_err(text)?;
    let journals = Journals::new(store.clone(), metrics.clone());
    let claims = Claims::new(store.clone(), metrics);
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut left = on_executors(world.cluster.directory());
        left.extend(tables::strays(world)?);
        left.extend(in_memory(world).await);
        left.extend(in_state(world, &store, &journals, &claims).await?);
        if left.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            return Err(format!("left after {LIMIT:?}: {left:#?}"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    claims_are_chains(world)?;
    no_invariant_was_broken(world).await?;
    world.cluster.shut_down().await.map_err(text)?;
    let open = journals.undrained().await.map_err(text)?;
    if !open.is_empty() {
        return Err(format!(
            "all schedulers ended in order, and left the journals of {open:?}"
        ));
    }
    let beacons = Members::new(store).list().await.map_err(text)?.beacons;
    if !beacons.is_empty() {
        return Err(format!(
            "all schedulers ended in order, and left beacons: {beacons:?}"
        ));
    }
    no_panic(&world.cluster.logs())
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

fn open(world: &World, registry: &Registry) -> Result<StateStore, String> {
    let state = world.state().display().to_string();
    let location = StateLocation::parse(&state, &Default::default(), []).map_err(text)?;
    let metrics = StoreMetrics::register(registry).map_err(text)?;
    StateStore::open(&location, Limits::default(), metrics).map_err(text)
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
        let held = metrics_of(node).await;
        let held = held.as_deref().and_then(|said| gauge(said, OUTPUTS));
        if held != Some(0.0) {
            left.push(format!("{} says of {OUTPUTS}: {held:?}", node.name()));
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

async fn in_state(
    world: &World,
    store: &StateStore,
    journals: &Journals,
    claims: &Claims,
) -> Result<Vec<String>, String> {
    let mut left = Vec::new();
    let mut live = BTreeSet::new();
    for scheduler in 0..COUNT {
        let status = world.status(scheduler).await;
        live.extend(status.map(|status| status.scheduler));
    }
    for journal in journals.schedulers().await.map_err(text)? {
        let held = journals.replay(&journal).await.map_err(text)?;
        let queries = owned(&journal, &held, claims).await?;
        let segments = segments(world, &journal);
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
    let beacons = Members::new(store.clone())
        .list()
        .await
        .map_err(text)?
        .beacons;
    let beacons: BTreeSet<SchedulerId> = beacons.into_iter().map(|b| b.scheduler).collect();
    if beacons != live {
        left.push(format!("beacons of {beacons:?}, and {live:?} are alive"));
    }
    let results = Results::new(store.clone()).queries().await.map_err(text)?;
    left.extend(results.iter().map(|query| format!("results of {query}")));
    Ok(left)
}

/// How many queries of its journal a scheduler drives. Those that others claimed stay there until its
/// next snapshot, and mean nothing.
pub(crate) async fn owned(
    journal: &SchedulerId,
    held: &Replayed,
    claims: &Claims,
) -> Result<usize, String> {
    let mut owned = 0;
    for (query, held) in held.book.queries() {
        let epoch = held.epoch;
        let claimed = match epoch {
            Epoch(0) => claims.submitter(query).await,
            _ => claims.adopter(query, epoch).await,
        };
        // A query that somebody waits for is claimed by nobody at first.
        let mine = match claimed.map_err(text)? {
            Some(by) => by == *journal,
            None => epoch == Epoch(0),
        };
        let passed_on = claims.adopter(query, epoch.next()).await.map_err(text)?;
        owned += usize::from(mine && passed_on.is_none());
    }
    Ok(owned)
}

fn segments(world: &World, journal: &SchedulerId) -> usize {
    let names = world.journal(journal);
    names.iter().filter(|name| *name != "drained").count()
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
