//! Faults: done, proven, and undone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use paceline_model::SchedulerId;
use paceline_testkit::{Role, Traffic};

use super::cut::{self, Victim};
use super::forecast::{Blow, COUNT, Strike, Target};
use super::world::{World, text};

/// Within which a fault must be there.
pub(super) const PROOF_LIMIT: Duration = Duration::from_secs(10);

/// A fault that is there.
pub(super) struct Struck {
    pub(super) blow: Blow,
    pub(super) role: Role,
    pub(super) index: usize,
    pub(super) at: Instant,
    /// Whether others noticed it before it was undone.
    pub(super) felt: bool,
    /// Whether there was a scheduler to be connected to.
    is_connected: bool,
    /// Of a scheduler: who it was, and what its journal held.
    pub(super) id: SchedulerId,
    pub(super) journal: BTreeSet<String>,
}

impl Struck {
    /// Whether it does not answer until it is undone.
    pub(super) fn is_silent(&self) -> bool {
        !matches!(self.blow, Blow::Cut | Blow::KillAndRestart)
    }

    /// Whether its connections are not what they were.
    fn is_shut(&self) -> bool {
        matches!(self.blow, Blow::Cut | Blow::CutOff | Blow::Stall)
    }

    pub(super) fn is(&self, role: Role, index: usize) -> bool {
        self.role == role && self.index == index
    }
}

/// The processes that a target stands for. `owner` is who drives the query, as far as that is known. One
/// that was struck already is not struck again, unless all are.
fn victims(target: Target, owner: usize, spared: &[usize], done: &[Struck]) -> Vec<Victim> {
    let is_done = |scheduler| done.iter().any(|one| one.is(Role::Scheduler, scheduler));
    let alive = |scheduler: usize| !spared.contains(&scheduler) && !is_done(scheduler);
    let others = || (0..COUNT).filter(|s| *s != owner && alive(*s));
    match target {
        Target::Owner if alive(owner) => vec![(Role::Scheduler, owner)],
        // Nobody drives it yet.
        Target::Owner | Target::OtherScheduler => {
            others().take(1).map(|s| (Role::Scheduler, s)).collect()
        }
        Target::AllSchedulers => (0..COUNT).map(|s| (Role::Scheduler, s)).collect(),
        Target::Executor(executor) => vec![(Role::Executor, executor)],
        Target::AllExecutors => (0..COUNT).map(|e| (Role::Executor, e)).collect(),
    }
}

/// Does it, and proves that it is done, but for a stall: that takes until somebody has something to say.
async fn strike(
    world: &mut World,
    blow: Blow,
    victim: Victim,
    is_connected: bool,
) -> Result<Struck, String> {
    let (role, index) = victim;
    let id = match role {
        Role::Scheduler => world.id(index),
        Role::Executor => SchedulerId::new(""),
    };
    let mut struck = Struck {
        blow,
        role,
        index,
        at: Instant::now(),
        felt: false,
        is_connected,
        journal: BTreeSet::new(),
        id,
    };
    match blow {
        Blow::Kill | Blow::KillAndRestart => kill(world, role, index).await?,
        Blow::Freeze => freeze(world, role, index)?,
        Blow::Cut => {
            cut::shut(world, victim, Traffic::Cut, is_connected).await?;
            cut::set(world, victim, Traffic::Flows)?;
        }
        Blow::CutOff => cut::shut(world, victim, Traffic::Cut, is_connected).await?,
        Blow::Stall => cut::shut(world, victim, Traffic::Stalls, is_connected).await?,
    }
    // From now on it writes nothing, if it is dead or frozen.
    struck.journal = world.journal(&struck.id);
    Ok(struck)
}

async fn kill(world: &mut World, role: Role, index: usize) -> Result<(), String> {
    let node = world.cluster.node(role, index).ok_or("no such process")?;
    let Some(process) = node.process() else {
        // An all-out strike meets one that is down already.
        return Ok(());
    };
    let id = process.id().ok_or("it had ended before it was killed")?;
    world.cluster.kill(role, index).await.map_err(text)?;
    match std::fs::exists(format!("/proc/{id}/stat")) {
        Ok(false) => Ok(()),
        other => Err(format!(
            "process {id} is still there after SIGKILL: {other:?}"
        )),
    }
}

fn freeze(world: &mut World, role: Role, index: usize) -> Result<(), String> {
    let node = world.cluster.node(role, index).ok_or("no such process")?;
    let process = node.process().ok_or("a process to be frozen is down")?;
    process.freeze().map_err(text)?;
    let id = process.id().ok_or("it had ended before it was frozen")?;
    let deadline = Instant::now() + PROOF_LIMIT;
    while state(id) != Some('T') {
        if Instant::now() > deadline {
            return Err(format!(
                "process {id} goes on after SIGSTOP: {:?}",
                state(id)
            ));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// What the system says that a process is doing.
fn state(process: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Undoes what can be undone before the query has ended.
pub(super) fn undo(world: &mut World, struck: &Struck) -> Result<(), String> {
    let (role, index) = (struck.role, struck.index);
    match struck.blow {
        Blow::Freeze => {
            let node = world.cluster.node(role, index).ok_or("no such process")?;
            node.process()
                .ok_or("a frozen process is gone")?
                .thaw()
                .map_err(text)
        }
        Blow::CutOff | Blow::Stall => cut::set(world, (role, index), Traffic::Flows),
        Blow::Kill | Blow::KillAndRestart | Blow::Cut => Ok(()),
    }
}

/// All strikes at once: what is sent does not wait for what was sent before to be felt.
pub(super) async fn all(
    world: &mut World,
    strikes: &[Strike],
    owner: usize,
    spared: &[usize],
) -> Result<Vec<Struck>, String> {
    let mut done: Vec<Struck> = Vec::new();
    for one in strikes {
        for (role, index) in victims(one.target, owner, spared, &done) {
            if done.iter().any(|other| other.is(role, index)) {
                continue;
            }
            let is_connected = has_a_scheduler(world, (role, index), &done);
            done.push(strike(world, one.blow, (role, index), is_connected).await?);
        }
    }
    if done.is_empty() {
        return Err("there was nobody to strike".to_string());
    }
    for one in done.iter().filter(|one| one.blow == Blow::Stall) {
        cut::holds_something_up(world, (one.role, one.index), one.is_connected).await?;
    }
    Ok(done)
}

/// Whether there is a scheduler that a process is connected to, since all of them are to all: another one,
/// which is up and was not cut off a moment ago.
fn has_a_scheduler(world: &World, victim: Victim, done: &[Struck]) -> bool {
    let nodes = world.cluster.schedulers().iter().enumerate();
    let mut others = nodes.filter(|(index, _)| victim != (Role::Scheduler, *index));
    others.any(|(index, node)| {
        let mut done = done.iter();
        node.is_up() && !done.any(|one| one.is(Role::Scheduler, index) && one.is_shut())
    })
}
