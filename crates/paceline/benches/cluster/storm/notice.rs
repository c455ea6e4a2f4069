//! Whether others have drawn their conclusions from a fault.

use paceline_testkit::Role;

use super::forecast::Blow;
use super::strike::Struck;
use super::world::World;

/// Whether somebody sealed the journal of a scheduler that cannot write, and perhaps drained it since.
pub(super) fn was_sealed(world: &World, struck: &Struck) -> bool {
    world.journal(&struck.id) != struck.journal
}

/// Whether a fault was noticed. `awake` are schedulers that answer.
pub(super) async fn is_felt(world: &World, struck: &Struck, awake: &[usize]) -> bool {
    match (struck.blow, struck.role) {
        (Blow::Kill | Blow::KillAndRestart, _) => true,
        (Blow::Cut, role) => {
            let links = world.cluster.links(role, struck.index);
            // It has dialed again what it had lost.
            links.is_ok_and(|links| links.from > 0)
        }
        (Blow::Freeze, Role::Scheduler) => was_sealed(world, struck),
        (Blow::CutOff | Blow::Stall, Role::Scheduler) => is_left_out(world, struck, awake).await,
        (_, Role::Executor) => is_given_up(world, struck, awake).await,
    }
}

/// Whether a scheduler has no executors any more, and all others hold it for gone, though its beacon goes
/// on: it was taken over if there is anybody to do it.
async fn is_left_out(world: &World, struck: &Struck, awake: &[usize]) -> bool {
    let own = world.status(struck.index).await;
    if own.is_none_or(|status| !status.executors.is_empty()) {
        return false;
    }
    for other in awake.iter().filter(|other| **other != struck.index) {
        let Some(status) = world.status(*other).await else {
            return false;
        };
        let mut live = status.schedulers.iter().filter(|peer| peer.live);
        if live.any(|peer| peer.id == struck.id) {
            return false;
        }
    }
    true
}

/// Whether no scheduler that answers has that executor any more.
async fn is_given_up(world: &World, struck: &Struck, awake: &[usize]) -> bool {
    let nodes = world.cluster.executors();
    let address = nodes.get(struck.index);
    let address = address.map(|node| &node.announced().cluster);
    let mut answered = false;
    for scheduler in awake {
        let Some(status) = world.status(*scheduler).await else {
            continue;
        };
        answered = true;
        let mut there = status.executors.iter();
        if there.any(|executor| Some(&executor.address) == address) {
            return false;
        }
    }
    answered
}
