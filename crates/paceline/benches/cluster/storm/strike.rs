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
    /// Whether there was a process to strike: one that is down is only started again with the others.
    pub(super) hit: bool,
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

/// Sends SIGKILL to all of them, before any is waited for. Returns the number of each process, unless it is
/// down already, as one may be that an all-out strike meets.
fn send_kills(world: &mut World, victims: &[Victim]) -> Result<Vec<Option<u32>>, String> {
    let mut sent = Vec::new();
    for (role, index) in victims {
        let node = world.cluster.node(*role, *index).ok_or("no such process")?;
        let Some(process) = node.process() else {
            sent.push(None);
            continue;
        };
        let id = process.id().ok_or("it had ended before it was killed")?;
        if !process.is_running().map_err(text)? {
            return Err(format!("process {id} had ended before it was killed"));
        }
        process.start_to_kill().map_err(text)?;
        sent.push(Some(id));
    }
    Ok(sent)
}

/// Does it, and proves that it is done, but for a stall: that takes until somebody has something to say.
/// What is to be killed was sent its signal at that time, if it was there.
async fn strike(
    world: &mut World,
    blow: Blow,
    victim: Victim,
    (at, sent): (Instant, Option<u32>),
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
        at,
        hit: !blow.kills() || sent.is_some(),
        felt: false,
        is_connected,
        journal: BTreeSet::new(),
        id,
    };
    match blow {
        Blow::Kill | Blow::KillAndRestart => {
            if let Some(id) = sent {
                is_killed(world, victim, id).await?;
            }
        }
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

/// Waits until a process is gone that was sent SIGKILL.
async fn is_killed(world: &mut World, (role, index): Victim, id: u32) -> Result<(), String> {
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
        let mut victims = victims(one.target, owner, spared, &done);
        victims.retain(|(role, index)| !done.iter().any(|other| other.is(*role, *index)));
        let at = Instant::now();
        let sent = match one.blow.kills() {
            true => send_kills(world, &victims)?,
            false => vec![None; victims.len()],
        };
        for (victim, sent) in victims.into_iter().zip(sent) {
            // What needs no signal is done here and now.
            let at = sent.map_or_else(Instant::now, |_| at);
            let is_connected = has_a_scheduler(world, victim, &done);
            let struck = strike(world, one.blow, victim, (at, sent), is_connected);
            done.push(struck.await?);
        }
    }
    if !done.iter().any(|one| one.hit) {
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
